"""Keeps a child process running: when it dies, it is started again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from meshkit.failures import single_failure
from meshkit.process import Child

_PAUSE_S = 0.5
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def supervised(start: Callable[[], AbstractAsyncContextManager[Child]]) -> AsyncIterator[None]:
    """Run a child for the length of a block, which begins when it is ready. One that dies is started again after half a second.

    Raises ChildError when it cannot be started, at first or again.
    """
    ready = asyncio.Event()
    with single_failure():
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(_keep(start, ready))
            started = group.create_task(ready.wait())
            await asyncio.wait([keeper, started], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            try:
                if ready.is_set():
                    yield
            finally:
                keeper.cancel()


async def _keep(start: Callable[[], AbstractAsyncContextManager[Child]], ready: asyncio.Event) -> None:
    while True:
        async with start() as child:
            ready.set()
            status = await child.wait()
            _log.error("child process died; starting it again", child=child.name, status=status)
        await asyncio.sleep(_PAUSE_S)
