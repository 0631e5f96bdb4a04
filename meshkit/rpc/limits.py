"""How long calls may take. One timer looks after all calls of a server: a timer for each would cost each several microseconds."""

import asyncio
from types import TracebackType
from typing import Any, Self

_NEVER = float("inf")


class Limits:
    """The calls under way that end at a time of the event loop's clock."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[Limit] = set()
        self._look: asyncio.TimerHandle | None = None
        self._look_at = _NEVER

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which all the calls are."""
        self._loop = self._loop or asyncio.get_running_loop()
        return self._loop

    def begin(self, limit: "Limit") -> None:
        """Look after a call from now on."""
        self._under_way.add(limit)
        if limit.at < self._look_at:
            if self._look:
                self._look.cancel()
            self._look_at = limit.at
            self._look = self.loop.call_at(limit.at, self._end_late_ones)

    def end(self, limit: "Limit") -> None:
        """Look after a call no more."""
        self._under_way.discard(limit)

    def _end_late_ones(self) -> None:
        now, self._look, self._look_at = self.loop.time(), None, _NEVER
        for limit in [limit for limit in self._under_way if limit.at <= now]:
            self.end(limit)
            limit.expire()
        if self._under_way:
            self.begin(min(self._under_way, key=lambda limit: limit.at))


class Limit:
    """A block of a task's work that is cancelled when its time is over, and raises TimeoutError then, as `asyncio.timeout` does."""

    __slots__ = ("_cancelling", "_expired", "_limits", "_task", "at")

    def __init__(self, limits: Limits, seconds: float) -> None:
        loop = limits.loop
        self._limits = limits
        self._task: asyncio.Task[Any] | None = asyncio.current_task(loop)
        self._cancelling = 0
        self._expired = False
        self.at = loop.time() + seconds

    def __enter__(self) -> Self:
        if not self._task:
            raise RuntimeError("only a task's time can be limited")
        self._cancelling = self._task.cancelling()
        self._limits.begin(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._limits.end(self)
        if self._expired and self._task and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the work."""
        self._expired = True
        if self._task:
            self._task.cancel()
