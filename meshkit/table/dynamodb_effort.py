"""How long a call is tried: one deadline over all attempts, full-jitter pauses between them, and the verdict when time is up.

This is the only layer that tries again. What may have been carried out is sent again only where that changes nothing: reads, and
transactions with their token. An attempt may take all the time that is left: a server that is slow is not made slower.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TypeVar

import structlog

from meshkit.errors import FeedmeshError, OverloadedError, UnavailableError
from meshkit.table.dynamodb_lane import Lane, crowded
from meshkit.table.dynamodb_wire import CONTENDED, THROTTLED, RefusedError, UnansweredError

T = TypeVar("T")
FIRST_PAUSE_S = 0.025
LONGEST_PAUSE_S = 1.0
Resting = Callable[[], AbstractContextManager[None]]
_UNKNOWN, _WAITING = "", "waiting for a slot"
_log = structlog.get_logger(__name__)


class Effort:
    """The attempts of one call, and what it would have come to if time were up now.

    `in_doubt` is to be set when an attempt was sent and not answered: whatever comes then, it may have been done.
    """

    def __init__(self, deadline: float, resting: Resting) -> None:
        self._patience = deadline / 2
        self._resting = resting
        self._attempts = 0
        self._pauses = 0
        self.in_doubt = False
        self._trouble = _UNKNOWN
        self._problem = "no answer"

    @asynccontextmanager
    async def attempt(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        """Hold a slot for an attempt. It is waited for half the deadline at most: what begins later would hardly end in time."""
        if slots.locked():
            self._trouble, self._problem = _WAITING, "no slot came free"
            async with asyncio.timeout(self._patience):
                await slots.acquire()
        else:
            await slots.acquire()
        try:
            self._attempts += 1
            self._trouble, self._problem = _UNKNOWN, "no answer"
            yield
        finally:
            slots.release()

    async def pause(self, trouble: str, problem: str) -> None:
        """Wait before the next attempt: a random time up to a bound that doubles.

        The trouble is the engine's code for what passes, or empty; the problem is for the log.
        """
        self._trouble, self._problem = trouble, problem
        bound = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._pauses)
        self._pauses += 1
        with self._resting():
            await asyncio.sleep(random.uniform(0, bound))  # noqa: S311  # spreads load, keeps no secret

    def verdict(self) -> FeedmeshError:
        """Say why it came to nothing. That there was no room is said only of what was certainly not done."""
        _log.warning("table.gave_up", problem=self._problem, attempts=self._attempts)
        if self._trouble == _UNKNOWN or self.in_doubt:
            return UnavailableError("the table does not answer; try again", reason="TABLE_TIMEOUT")
        if self._trouble == _WAITING:
            return crowded()
        if self._trouble in CONTENDED:
            return OverloadedError("too many writes want the same items; try again", reason="TABLE_CONTENDED")
        return OverloadedError("the table gets more than it may take; try again later", reason="TABLE_THROTTLED")


@asynccontextmanager
async def effort(deadline: float, resting: Resting = nullcontext) -> AsyncIterator[Effort]:
    """Bound a block by a deadline in seconds. Pauses are made inside `resting`.

    Raises:
        OverloadedError: it ended in a pause, by an engine that had no room or writes that others came before, or unsent in a queue.
        UnavailableError: the time went by otherwise.

    """
    attempts = Effort(deadline, resting)
    try:
        async with asyncio.timeout(deadline):
            yield attempts
    except TimeoutError:
        raise attempts.verdict() from None


async def insist(
    lane: Lane, attempts: Effort, operation: str, request: Mapping[str, object], answer: type[T], *, repeatable: bool
) -> T:
    """Make a call until it is answered. `repeatable` says that it may be carried out twice; the same request is sent each time.

    Raises:
        RefusedError: the engine did not do it, for a reason that does not pass.
        UnavailableError: it is not known whether it was done.

    """
    while True:
        try:
            async with attempts.attempt(lane.slots):
                return await lane.wire.call(operation, request, answer)
        except RefusedError as refusal:
            if refusal.code not in THROTTLED | CONTENDED:
                raise
            trouble, problem = refusal.code, str(refusal)
        except UnansweredError as loss:
            if loss.sent and not repeatable:
                _log.warning("table.unanswered", operation=operation, problem=str(loss))
                raise UnavailableError("the table did not answer; try again", reason="TABLE_UNANSWERED") from None
            attempts.in_doubt |= loss.sent
            trouble, problem = _UNKNOWN, str(loss)
        await attempts.pause(trouble, problem)


def unusable(refusal: RefusedError, operation: str) -> UnavailableError:
    """Log what an operator has to mend, and give what the caller may know of it."""
    _log.error("table.refused", operation=operation, problem=str(refusal))
    return UnavailableError("the table could not do it; try again", reason="TABLE_FAILED")
