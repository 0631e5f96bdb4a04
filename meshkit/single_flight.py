"""Doing a thing once for everybody who wants it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Shares work that is under way. A context manager: work that is not done at its end is cancelled."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Task[Result]] = {}
        self._tasks: set[asyncio.Task[Result]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, keys: list[Key], work: Callable[[list[Key]], Awaitable[Result]]) -> set[asyncio.Task[Result]]:
        """Start work for those of the keys that nobody works on, and give the tasks that together bring them all.

        Wait for a task with `asyncio.shield`: others may wait for it too.
        """
        new = [key for key in keys if key not in self._under_way]
        if new:
            task = asyncio.ensure_future(_run(work, new))
            self._tasks.add(task)
            self._under_way |= dict.fromkeys(new, task)
            task.add_done_callback(lambda done: self._ended(new, done))
        return {self._under_way[key] for key in keys}

    def forget(self, key: Key) -> None:
        """Let the next who wants a key start anew, whatever is under way."""
        self._under_way.pop(key, None)

    def forget_all(self) -> None:
        """Let whoever wants any key next start anew."""
        self._under_way.clear()

    def _ended(self, keys: list[Key], task: asyncio.Task[Result]) -> None:
        self._tasks.discard(task)
        for key in keys:
            if self._under_way.get(key) is task:
                del self._under_way[key]
        if not task.cancelled():
            task.exception()  # those who wait have it; that nobody waits any more is no reason to complain


async def _run(work: Callable[[list[Key]], Awaitable[Result]], keys: list[Key]) -> Result:
    return await work(keys)
