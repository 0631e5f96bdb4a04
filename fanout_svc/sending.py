"""Queues the chunks of jobs, in two lanes: smaller jobs never wait for large ones."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import structlog

from fanout_svc.domain import Chunk, Job, is_bulk
from fanout_svc.ending import Ending
from fanout_svc.jobs import JobRepository
from fanout_svc.ports import Chunks
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import DeadLetteredError, UnroutableError

_JOBS_AT_ONCE = 8  # of a lane
_CHUNKS_AT_ONCE = 16  # of a job

_log = structlog.get_logger(__name__)


class Sender:
    """Queues jobs' chunks while `run` runs. A job that does not get through is left to the sweeper: its row keeps it.

    With a queue that keeps nothing, sending a chunk takes until it is done; so the lanes are apart. `waiting` is how many jobs may
    wait in each.
    """

    def __init__(self, jobs: JobRepository, ending: Ending, chunks: Chunks, *, waiting: int = 1_000) -> None:
        self._jobs = jobs
        self._ending = ending
        self._chunks = chunks
        self._small: asyncio.Queue[Job] = asyncio.Queue(waiting)
        self._large: asyncio.Queue[Job] = asyncio.Queue(waiting)
        self._under_way: set[int] = set()

    @property
    def under_way(self) -> frozenset[int]:
        """The ids of the jobs that wait here or are being sent."""
        return frozenset(self._under_way)

    def take(self, job: Job) -> None:
        """Have those of a job's chunks queued that are not done, unless that is under way."""
        lane = self._large if is_bulk(job.chunk_count) else self._small
        if job.finished_ms or job.job_id in self._under_way:
            return
        if lane.full():
            _log.warning("job waits for the sweeper", job_id=job.job_id)
            return
        self._under_way.add(job.job_id)
        lane.put_nowait(job)

    async def run(self) -> NoReturn:
        """Queue chunks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in (self._small, self._large):
                for _ in range(_JOBS_AT_ONCE):
                    tasks.create_task(self._send_all(lane))
        raise AssertionError("they never end")

    async def _send_all(self, lane: asyncio.Queue[Job]) -> NoReturn:
        while True:
            job = await lane.get()
            try:
                await self._send(job)
            except (UnavailableError, OverloadedError, UnroutableError, DeadLetteredError) as error:
                _log.warning("job not done", job_id=job.job_id, error=repr(error))
            finally:
                self._under_way.discard(job.job_id)

    async def _send(self, job: Job) -> None:
        """Queue what is not done; where all is done, and only the note of it is missing, note the end."""
        done = await self._jobs.done_chunks(job)
        waiting = [chunk for chunk in job.chunks() if chunk.index not in done]
        if waiting:
            await self._send_chunks(waiting)
        else:
            await self._ending.settle(job)

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
