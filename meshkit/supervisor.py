"""Keeps child processes running: one that dies is started again, one that is asked to is replaced."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from meshkit.failures import single_failure
from meshkit.process import Child, ChildError

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_log = structlog.get_logger(__name__)

Start = Callable[[], AbstractAsyncContextManager[Child]]


class Supervised:
    """A child that is kept running by `supervised`."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._ready = asyncio.Event()
        self._replace = asyncio.Event()

    async def ready(self) -> None:
        """Wait until it is ready."""
        await self._ready.wait()

    async def restart(self) -> None:
        """Stop the child in order, and wait until its successor is ready."""
        self._ready.clear()
        self._replace.set()
        await self._ready.wait()

    async def keep(self) -> None:
        """Keep it running until cancelled. Raises ChildError when it cannot be started the first time."""
        pause = _FIRST_PAUSE_S
        ran = False
        while True:
            try:
                async with self._start() as child:
                    pause, ran = _FIRST_PAUSE_S, True
                    self._replace.clear()
                    self._ready.set()
                    died = await self._until_over(child)
            except (ChildError, OSError) as error:
                if not ran:
                    raise
                _log.warning("child process cannot be started; it will be tried again", error=str(error))
                died = True
            if died:
                self._ready.clear()
                await asyncio.sleep(random.SystemRandom().uniform(pause / 2, pause))
                pause = min(_LONGEST_PAUSE_S, 2 * pause)

    async def _until_over(self, child: Child) -> bool:
        """Wait until the child has died, or is to be replaced."""
        ended = asyncio.ensure_future(child.wait())
        asked = asyncio.ensure_future(self._replace.wait())
        try:
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                _log.error("child process died; starting it again", child=child.name, status=ended.result())
            return ended.done()
        finally:
            ended.cancel()
            asked.cancel()


@asynccontextmanager
async def supervised(*starts: Start) -> AsyncIterator[tuple[Supervised, ...]]:
    """Run children for the length of a block, which begins when all are ready; they start, and stop, at the same time.

    One that dies is started again: after half a second, and when that fails after growing pauses, at most ten seconds.
    Raises ChildError when one cannot be started at first.
    """
    children = tuple(Supervised(start) for start in starts)
    with single_failure():
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(child.keep()) for child in children]
            all_ready = group.create_task(_all_ready(children))
            await asyncio.wait([*keepers, all_ready], return_when=asyncio.FIRST_COMPLETED)
            try:
                if all_ready.done():
                    yield children
            finally:
                all_ready.cancel()
                for keeper in keepers:
                    keeper.cancel()


async def _all_ready(children: tuple[Supervised, ...]) -> None:
    for child in children:
        await child.ready()
