"""Sends again what a crash, or a broker that forgot, left undone."""

from collections.abc import Sequence
from typing import NoReturn

import structlog

from fanout_svc.domain import Job
from fanout_svc.jobs import JobRepository
from fanout_svc.sending import Sender
from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.lease import Lease, released

_JOBS_A_SWEEP = 100

_log = structlog.get_logger(__name__)


class Sweeper:
    """Looks for jobs that are late. Of several processes the one with the lease does."""

    def __init__(
        self,
        jobs: JobRepository,
        sender: Sender,
        lease: Lease,
        *,
        late_seconds: float,
        every_seconds: float,
        pause_seconds: float = 600,
    ) -> None:
        self._jobs = jobs
        self._sender = sender
        self._lease = lease
        self._late_ms = int(late_seconds * 1000)
        self._every_seconds = every_seconds
        self._pause_ms = int(pause_seconds * 1000)
        self._after = 0
        self._now_ms = 0
        self._since_ms: dict[int, int] = {}
        self._due_ms: dict[int, int] = {}
        self._seen: set[int] = set()

    async def run(self) -> NoReturn:
        """Sweep now and then, until cancelled."""
        async with released(self._lease):
            while True:
                try:
                    if await self._lease.hold(b""):
                        await self.sweep()
                except (UnavailableError, OverloadedError) as error:
                    _log.warning("late jobs not swept", error=str(error))
                await self._lease.pause(self._every_seconds)

    async def sweep(self) -> int:
        """Have those of the next hundred running jobs sent again that are due, and tell how many were.

        A job is due when it is late, and then whenever it got twice as old, or `pause_seconds` older: its chunks are most likely
        still on their way, and copies would only make that way longer. If they could not be queued, it is due with the next
        sweep. Each sweep goes on where the one before ended: jobs that never get done do not keep the others from their turn.
        """
        ids = await self._jobs.running(after=self._after, limit=_JOBS_A_SWEEP)
        due = self._due(await self._jobs.get_many(ids), now_ms())
        self._go_on(ids)
        if due:
            _log.info("sending late jobs again", count=len(due))
        for job in due:
            self._sender.take(job, self._failed)
        return len(due)

    def _failed(self, job_id: int) -> None:
        self._due_ms.pop(job_id, None)

    def _due(self, jobs: Sequence[Job], now: int) -> list[Job]:
        if now < self._now_ms:  # the clock went back
            self._since_ms.clear()
            self._due_ms.clear()
        self._now_ms = now
        due = [job for job in jobs if self._due_ms.get(job.job_id, self._since(job) + self._late_ms) < now]
        for job in due:
            self._due_ms[job.job_id] = now + min(now - self._since(job), self._pause_ms)
        return due

    def _since(self, job: Job) -> int:
        """Tell since when a job waits. One of before the clock went back is ahead of it, and counts from when it was seen."""
        return self._since_ms.setdefault(job.job_id, min(job.created_ms, self._now_ms))

    def _go_on(self, ids: Sequence[int]) -> None:
        """Begin anew after the last page, and forget jobs that none of the pages had: they are done."""
        self._seen.update(ids)
        if len(ids) == _JOBS_A_SWEEP:
            self._after = ids[-1]
            return
        self._since_ms = {job_id: since for job_id, since in self._since_ms.items() if job_id in self._seen}
        self._due_ms = {job_id: due for job_id, due in self._due_ms.items() if job_id in self._seen}
        self._after = 0
        self._seen.clear()
