"""The work of fan-out: plan a post's job, deliver its chunks, and send again what is late."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import structlog

from fanout_svc.domain import Chunk, FollowerRange, Job, chunk_count_for
from fanout_svc.jobs import JobRepository
from fanout_svc.ports import Chunks, Followers, Timelines
from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.lease import Lease, released
from meshkit.queue.port import DeadLetteredError, UnroutableError

_CHUNKS_AT_ONCE = 64
_JOBS_A_SWEEP = 100

_log = structlog.get_logger(__name__)


class Planner:
    """Turns a new post into a job."""

    def __init__(self, jobs: JobRepository, followers: Followers, timelines: Timelines, chunks: Chunks, *, chunk_size: int) -> None:
        self._sending: set[int] = set()
        self._jobs = jobs
        self._followers = followers
        self._timelines = timelines
        self._chunks = chunks
        self._chunk_size = chunk_size

    async def plan(self, post_id: int, author_id: int) -> None:
        """Note the job and queue what of it is not done; planning twice is planning once."""
        await self._timelines.push_author(post_id, author_id)
        followers = await self._followers.count(author_id)
        chunks = chunk_count_for(followers, self._chunk_size)
        job = await self._jobs.create(Job(post_id, author_id, chunks, followers, now_ms()))
        await self.send(job)

    async def send(self, job: Job) -> None:
        """Queue a job's chunks that are not done, unless that is under way; where all are, note the job as done."""
        if job.finished_ms or job.job_id in self._sending:
            return
        self._sending.add(job.job_id)
        try:
            done = await self._jobs.done_chunks(job)
            waiting = [chunk for chunk in job.chunks() if chunk.index not in done]
            if not waiting:
                await self._jobs.finish_chunk(job, 0)
            await self._send_chunks(waiting)
        finally:
            self._sending.discard(job.job_id)

    async def _send_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Queue chunks, only so many at once that the biggest job does not fill the queue."""
        room = asyncio.Semaphore(_CHUNKS_AT_ONCE)

        async def send(chunk: Chunk) -> None:
            async with room:
                await self._chunks.send(chunk)

        results = await asyncio.gather(*map(send, chunks), return_exceptions=True)
        for failure in results:
            if failure is not None:
                raise failure


class Worker:
    """Delivers chunks."""

    def __init__(self, jobs: JobRepository, followers: Followers, timelines: Timelines, *, batch_size: int) -> None:
        self._jobs = jobs
        self._followers = followers
        self._timelines = timelines
        self._batch_size = batch_size

    async def deliver(self, chunk: Chunk) -> None:
        """Push a chunk's post to its range of followers, then note the chunk as done. Delivering twice is delivering once."""
        job = await self._jobs.get(chunk.job_id)
        if job is None or chunk.index in await self._jobs.done_chunks(job):
            return
        position = chunk.range.start
        while True:
            within = FollowerRange(position, chunk.range.end)
            follower_ids, position = await self._followers.page(chunk.author_id, within, limit=self._batch_size)
            if follower_ids:
                await self._timelines.push(chunk.job_id, chunk.author_id, follower_ids)
            if position is None:
                break
        await self._jobs.finish_chunk(job, chunk.index)


class Sweeper:
    """Sends again what a crash, or a broker that forgot, left undone. Of several processes the one with the lease does."""

    def __init__(
        self,
        jobs: JobRepository,
        planner: Planner,
        lease: Lease,
        *,
        late_seconds: float,
        every_seconds: float,
        pause_seconds: float = 600,
    ) -> None:
        self._jobs = jobs
        self._planner = planner
        self._lease = lease
        self._late_seconds = late_seconds
        self._every_seconds = every_seconds
        self._pause_ms = int(pause_seconds * 1000)
        self._after = 0
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
        """Queue what is not done of those of the next hundred running jobs that are due, and tell how many were.

        A job is due when it is late, and then whenever it got twice as old, or `pause_seconds` older: its chunks are most likely
        still on their way, and copies would only make that way longer. Each sweep goes on where the one before ended: jobs that
        never get done do not keep the others from their turn.
        """
        ids = await self._jobs.running(after=self._after, limit=_JOBS_A_SWEEP)
        due = self._due(await self._jobs.get_many(ids), now_ms())
        self._go_on(ids)
        if due:
            _log.info("sending late jobs again", count=len(due))
        async with asyncio.TaskGroup() as tasks:
            for job in due:
                tasks.create_task(self._send_again(job))
        return len(due)

    def _due(self, jobs: Sequence[Job], now: int) -> list[Job]:
        late_ms = int(self._late_seconds * 1000)
        due = [job for job in jobs if self._due_ms.get(job.job_id, job.created_ms + late_ms) < now]
        for job in due:
            self._due_ms[job.job_id] = now + min(now - job.created_ms, self._pause_ms)
        return due

    def _go_on(self, ids: Sequence[int]) -> None:
        """Begin anew after the last page, and forget jobs that none of the pages had: they are done."""
        self._seen.update(ids)
        if len(ids) == _JOBS_A_SWEEP:
            self._after = ids[-1]
            return
        self._due_ms = {job_id: due for job_id, due in self._due_ms.items() if job_id in self._seen}
        self._after = 0
        self._seen.clear()

    async def _send_again(self, job: Job) -> None:
        """Send a job again; one that does not get through is left to a later sweep, and holds up no other."""
        try:
            async with asyncio.timeout(self._late_seconds):
                await self._planner.send(job)
        except (UnavailableError, OverloadedError, UnroutableError, DeadLetteredError, TimeoutError) as error:
            _log.warning("late job not done", job_id=job.job_id, error=repr(error))
