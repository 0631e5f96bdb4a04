"""When a job is done."""

from fanout_svc.domain import Job
from fanout_svc.jobs import JobRepository
from fanout_svc.ports import Deliveries
from fanout_svc.steering import Steering


class Ending:
    """Notes the end of jobs."""

    def __init__(self, jobs: JobRepository, deliveries: Deliveries, steering: Steering) -> None:
        self._jobs = jobs
        self._deliveries = deliveries
        self._steering = steering

    async def settle(self, job: Job) -> None:
        """End a job if all its chunks are done. A turn is finished first: no crash may lose that.

        Workers whose chunks end at the same time may all come here; only one of them notes the end.
        """
        done = await self._jobs.done_chunks(job)
        if len(done) < job.chunk_count:
            return
        delivered = sum(done.values())
        if job.turn:
            await self._deliveries.finish_turn(job.author_id, job.turn)
        if await self._jobs.finish(job, delivered) and not job.turn:
            await self._steering.reached(job.author_id, job.follower_count, delivered)
