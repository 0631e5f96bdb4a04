"""How a service's process lives: background work beside the server, and an end that comes by signal."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog
import uvloop

from meshkit.failures import single_failure

_log = structlog.get_logger(__name__)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a process's main coroutine on uvloop."""
    # A busy loop that keeps asking for the interpreter's lock would otherwise let the tables' threads wait for seconds.
    sys.setswitchinterval(50e-6)
    uvloop.run(main)


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless work beside the block, and cancel it at the block's end. If it fails, so does the block."""
    with single_failure():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()


async def until_stopped(name: str, running: AbstractAsyncContextManager[str]) -> None:
    """Run a service until SIGTERM or SIGINT, then let it stop in order."""
    stop = stop_signal()
    async with running as address:
        _log.info("serving", service=name, address=address)
        await stop.wait()
        _log.info("stopping", service=name)


def stop_signal() -> asyncio.Event:
    """Give an event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
