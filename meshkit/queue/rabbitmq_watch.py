"""Looks after a consuming channel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel


async def watch(channel: AbstractChannel, check: Callable[[], Awaitable[None]], *, every_seconds: float = 5.0) -> NoReturn:
    """Check now and then, and raise why the channel ended, that the broker cancelled a consumer of it, or what a check raised.

    A deleted queue cancels its consumer. A deleted exchange takes the bindings with it, and tells nobody.
    """
    cancelled = asyncio.Event()

    def cancel(_frame: spec.Basic.Cancel | spec.Basic.CancelOk) -> None:
        cancelled.set()

    channel.on_consumer_cancel_callbacks.add(cancel)
    waiting = asyncio.ensure_future(cancelled.wait())
    try:
        while True:
            await asyncio.wait((waiting, channel.closing), timeout=every_seconds, return_when=asyncio.FIRST_COMPLETED)
            if channel.is_closed:
                await channel.closing
            if cancelled.is_set():
                raise aiormq.ChannelNotFoundEntity("the queue was deleted")
            await check()
    finally:
        waiting.cancel()
