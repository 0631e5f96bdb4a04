"""A thread with an SQLite connection of its own, which does everything that waits in one transaction.

A lane turns many concurrent calls into few transactions: for writes that is group commit, one fsync for all of them; for reads it
is one snapshot and one thread hop for all of them.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.table.port import ConditionFailedError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection, float], T]
"""What a caller wants done inside a transaction, given the time (Unix seconds). It may fail only before it changes anything."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane works. Costs are in the callers' units, the deadline in seconds."""

    begin: str
    backlog: int
    batch: int
    deadline: float
    clock: Callable[[], float]


@dataclass(slots=True, eq=False)
class _Job:
    work: Work[Any]
    cost: int
    answer: asyncio.Future[Any]


@contextlib.asynccontextmanager
async def open_lane(
    name: str, connection: sqlite3.Connection, settings: LaneSettings, finish: Callable[[sqlite3.Connection, float, int], None]
) -> AsyncIterator["Lane"]:
    """Run a lane until the context ends; then what waits is still done. `finish` is called at the end of every transaction."""
    lane = Lane(connection, settings, finish)
    thread = threading.Thread(target=lane.run, name=name, daemon=True)
    thread.start()
    try:
        yield lane
    finally:
        lane.stop()
        await asyncio.to_thread(thread.join)


class Lane:
    """The queue in front of the thread. `done` and `transactions` count since the start: their ratio tells how well calls group."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        settings: LaneSettings,
        finish: Callable[[sqlite3.Connection, float, int], None],
    ) -> None:
        self.done = 0
        self.transactions = 0
        self.waiting = 0
        self._connection = connection
        self._settings = settings
        self._finish = finish
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._open = True

    async def do(self, work: Work[T], cost: int) -> T:
        """Have the work done in the next transaction, and give its answer once that is committed.

        Raises:
            OverloadedError: too much waits already.
            UnavailableError: not done in time, or the transaction failed, or the lane is closed. After the deadline, or when the
                caller is cancelled, the work may still have been done, or be done later.

        """
        if not self._open:
            raise UnavailableError("the table is closed", reason="TABLE_CLOSED")
        if self.waiting >= self._settings.backlog:
            raise OverloadedError("too much waits for the table; try again later", reason="TABLE_BACKLOG_FULL")
        answer: asyncio.Future[T] = self._loop.create_future()
        self.waiting += cost
        self._jobs.put(_Job(work, cost, answer))
        timer = self._loop.call_later(self._settings.deadline, _give_up, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Take no more work; the thread ends after what waits."""
        self._open = False
        self._jobs.put(None)

    def run(self) -> None:
        """Do what comes until there is no more. For the lane's own thread."""
        ended = False
        while not ended:
            jobs, ended = self._take()
            # A caller that gave up while its work waited is not served any more.
            wanted = [job for job in jobs if not job.answer.done()]
            outcomes = self._transact(wanted) if wanted else []
            # A loop that was closed under us has nobody left who could be told.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, sum(job.cost for job in jobs), wanted, outcomes)

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for work; give all there is up to the bound, and whether the lane was stopped."""
        jobs: list[_Job] = []
        cost = 0
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            cost += job.cost
            if cost >= self._settings.batch:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _transact(self, jobs: Sequence[_Job]) -> list[Any]:
        try:
            outcomes = self._attempt(jobs)
        except Exception:  # whatever it was, the callers must hear of it and the thread must live
            logger = structlog.get_logger()
            logger.exception("table.transaction_failed", jobs=len(jobs))
            self._roll_back()
            return [UnavailableError("the table could not do it; try again", reason="TABLE_FAILED") for _ in jobs]
        self.transactions += 1
        self.done += len(jobs)
        return outcomes

    def _attempt(self, jobs: Sequence[_Job]) -> list[Any]:
        now = self._settings.clock()
        self._connection.execute(self._settings.begin)
        outcomes: list[Any] = []
        for job in jobs:
            try:
                outcomes.append(job.work(self._connection, now))
            except (ConditionFailedError, ValueError) as error:
                outcomes.append(error)
        self._finish(self._connection, now, len(jobs))
        self._connection.execute("COMMIT")
        return outcomes

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself after some errors, such as a full disk
            self._connection.execute("ROLLBACK")

    def _settle(self, cost: int, jobs: Sequence[_Job], outcomes: Sequence[Any]) -> None:
        self.waiting -= cost
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.answer.done():
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)


def _give_up(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(UnavailableError("the table does not answer; try again", reason="TABLE_TIMEOUT"))
