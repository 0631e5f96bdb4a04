"""The work of fan-out: plan a post's job, deliver its chunks, and send again what is late."""

import asyncio
from typing import NoReturn

import structlog

from fanout_svc.domain import Chunk, FollowerRange, Job, chunk_count_for
from fanout_svc.jobs import JobRepository
from fanout_svc.ports import Chunks, Followers, Timelines
from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import DeadLetteredError, UnroutableError

_log = structlog.get_logger(__name__)


class Planner:
    """Turns a new post into a job."""

    def __init__(self, jobs: JobRepository, followers: Followers, timelines: Timelines, chunks: Chunks, *, chunk_size: int) -> None:
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
        """Queue a job's chunks that are not done. For a job that is all done but for the note of it, note it."""
        if job.finished_ms:
            return
        done = await self._jobs.done_chunks(job) if job.chunk_count > 1 else set()
        waiting = [chunk for chunk in job.chunks() if chunk.index not in done]
        if not waiting:
            await self._jobs.finish_chunk(job, 0)
        try:
            async with asyncio.TaskGroup() as tasks:
                for chunk in waiting:
                    tasks.create_task(self._chunks.send(chunk))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures


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
        if job is None or job.finished_ms:
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
    """Sends again what a crash, or a broker that forgot, left undone."""

    def __init__(self, jobs: JobRepository, planner: Planner, *, late_seconds: float, every_seconds: float) -> None:
        self._jobs = jobs
        self._planner = planner
        self._late_seconds = late_seconds
        self._every_seconds = every_seconds

    async def run(self) -> NoReturn:
        """Sweep now and then, until cancelled."""
        while True:
            try:
                await self.sweep()
            except (UnavailableError, OverloadedError, UnroutableError, DeadLetteredError) as error:
                _log.warning("late jobs not swept", error=str(error))
            await asyncio.sleep(self._every_seconds)

    async def sweep(self) -> int:
        """Queue what is not done of every late job, and tell how many jobs were late."""
        late = await self._jobs.late(older_than_ms=now_ms() - int(self._late_seconds * 1000), limit=100)
        if late:
            _log.info("sending late jobs again", jobs=len(late))
        for job in late:
            await self._planner.send(job)
        return len(late)
