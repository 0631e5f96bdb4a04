"""Fan-out's contract, translated to and from the jobs."""

from typing import Any

import grpc
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc, job_pb2

from fanout_svc.domain import Job
from fanout_svc.jobs import JobRepository
from meshkit.errors import NotFoundError
from meshkit.ids import id_bytes, id_from
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import timestamp

_SCOPE = "running-jobs"

Context = grpc.aio.ServicerContext[Any, Any]


class FanoutServicer(fanout_service_pb2_grpc.FanoutServiceServicer):
    """feed.fanout.v1.FanoutService."""

    def __init__(self, jobs: JobRepository, tokens: PageTokens) -> None:
        self._jobs = jobs
        self._tokens = tokens

    async def GetJob(self, request: fanout_service_pb2.GetJobRequest, context: Context) -> fanout_service_pb2.GetJobResponse:
        job = await self._jobs.get(request.job_id)
        if job is None:
            raise NotFoundError("job_id: there is no such job", reason="JOB_NOT_FOUND", fields={"job_id": "is not a job"})
        return fanout_service_pb2.GetJobResponse(job=await self._job(job))

    async def ListRunningJobs(
        self, request: fanout_service_pb2.ListRunningJobsRequest, context: Context
    ) -> fanout_service_pb2.ListRunningJobsResponse:
        last = self._tokens.open(_SCOPE, request.page_token)
        size = page_size(request.page_size)
        ids = await self._jobs.running(after=id_from(last) if last else 0, limit=size + 1)
        # A job may end between the two reads; where to go on depends on the ids alone.
        jobs = [job for job_id in ids[:size] if (job := await self._jobs.get(job_id)) and not job.finished_ms]
        return fanout_service_pb2.ListRunningJobsResponse(
            jobs=[await self._job(job) for job in jobs],
            next_page_token=self._tokens.sign(_SCOPE, id_bytes(ids[size - 1])) if len(ids) > size else "",
        )

    async def _job(self, job: Job) -> job_pb2.Job:
        return _encode(job, len(await self._jobs.done_chunks(job)))


def _encode(job: Job, done_chunks: int) -> job_pb2.Job:
    return job_pb2.Job(
        job_id=job.job_id,
        author_id=job.author_id,
        state=job_pb2.JOB_STATE_DONE if job.finished_ms else job_pb2.JOB_STATE_RUNNING,
        chunk_count=job.chunk_count,
        done_chunk_count=done_chunks,
        follower_count=job.follower_count,
        create_time=timestamp(job.created_ms),
        finish_time=timestamp(job.finished_ms) if job.finished_ms else None,
    )
