"""Calls that go together: what is asked for while one is under way makes up the next, as in Nagle's algorithm (RFC 896)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from meshkit.errors import UnavailableError

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Group(Generic[K, V]):
    """Who goes together. It takes members until its turn comes."""

    keys: list[K] = field(default_factory=list)
    size: int = 0
    answers: asyncio.Future[Sequence[V]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Together(Generic[K, V]):
    """Makes one call at a time, for all keys that came meanwhile: nobody waits for company, and the busier, the more go together.

    A call gets keys whose sizes are at most `room` together, or one key, and gives an answer for each; if it fails, it fails for
    all of them. A context manager: what is not answered at its end is given up.
    """

    def __init__(self, call: Callable[[Sequence[K]], Awaitable[Sequence[V]]], *, room: int, size: Callable[[K], int]) -> None:
        self._call = call
        self._room = room
        self._size = size
        self._turn = asyncio.Lock()
        self._open: _Group[K, V] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ask(self, key: K) -> V:
        """Ask together with others. Raises what the call raises, and UnavailableError when it is closed meanwhile."""
        size, group = self._size(key), self._open
        if group is None or group.size + size > self._room:
            group = self._begin()
        place = len(group.keys)
        group.keys.append(key)
        group.size += size
        return (await asyncio.shield(group.answers))[place]

    def _begin(self) -> _Group[K, V]:
        group = self._open = _Group[K, V]()
        # Not the first caller's own task: others must not suffer when that one gives up.
        task = asyncio.create_task(self._answer(group))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, group))
        return group

    async def _answer(self, group: _Group[K, V]) -> None:
        try:
            async with self._turn:
                self._seal(group)
                group.answers.set_result(await self._call(group.keys))
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait get it
            _fail(group, error)
        finally:
            self._seal(group)

    def _ended(self, group: _Group[K, V], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not group.answers.done():  # it was cancelled, perhaps before it began
            _fail(group, UnavailableError("it was closed meanwhile", reason="CLOSED"))

    def _seal(self, group: _Group[K, V]) -> None:
        """Take no more members."""
        if self._open is group:
            self._open = None


def _fail(group: _Group[K, V], error: Exception) -> None:
    group.answers.set_exception(error)
    group.answers.exception()  # seen, also when nobody waits any more
