"""Looks after a consuming channel."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiormq import spec
from aiormq.abc import AbstractChannel

_REBIND_SECONDS = 5.0


async def watch(channel: AbstractChannel, rebind: Callable[[], Awaitable[None]]) -> None:
    """Return when the broker cancels a consumer of the channel, raise when the channel ends, and bind again every 5 seconds.

    A deleted queue cancels its consumer. A deleted exchange takes the bindings with it, and tells nobody.
    """
    cancelled = asyncio.Event()

    def cancel(_frame: spec.Basic.Cancel | spec.Basic.CancelOk) -> None:
        cancelled.set()

    channel.on_consumer_cancel_callbacks.add(cancel)
    waiting = asyncio.ensure_future(cancelled.wait())
    try:
        while not channel.is_closed and not cancelled.is_set():
            await asyncio.wait((waiting, channel.closing), timeout=_REBIND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not cancelled.is_set() and not channel.is_closed:
                await rebind()
        if cancelled.is_set():
            structlog.get_logger().warning("rabbitmq.queue_deleted", channel=channel.number)
    finally:
        waiting.cancel()
