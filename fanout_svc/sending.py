"""Queues the chunks of jobs, in two lanes: smaller jobs never wait for large ones."""

import asyncio
from collections.abc import Callable, Sequence
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

Failed = Callable[[int], object]
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
        self._under_way: dict[int, Failed | None] = {}

    @property
    def under_way(self) -> frozenset[int]:
        """The ids of the jobs that wait here or are being sent."""
        return frozenset(self._under_way)

    def take(self, job: Job, failed: Failed | None = None) -> None:
        """Have those of a job's chunks queued that are not done, unless that is under way.

        `failed` gets the job's id if the queue does not take all of them, or there is no room here. A chunk that is given up was
        taken.
        """
        lane = self._large if is_bulk(job.chunk_count) else self._small
        if job.finished_ms:
            return
        if job.job_id not in self._under_way:
            if lane.full():
                _log.warning("job waits for the sweeper", job_id=job.job_id)
                _tell(failed, job)
                return
            lane.put_nowait(job)
        self._under_way[job.job_id] = failed or self._under_way.get(job.job_id)

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
            except DeadLetteredError as error:
                _log.warning("job not done", job_id=job.job_id, error=repr(error))
            except (UnavailableError, OverloadedError, UnroutableError) as error:
                _log.warning("job not done", job_id=job.job_id, error=repr(error))
                _tell(self._under_way[job.job_id], job)
            finally:
                del self._under_way[job.job_id]

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
        failures = [result for result in results if result is not None]
        if failures:
            # What the queue did not take comes first: it decides when the job is sent again.
            raise min(failures, key=lambda failure: isinstance(failure, DeadLetteredError))


def _tell(failed: Failed | None, job: Job) -> None:
    if failed:
        failed(job.job_id)
