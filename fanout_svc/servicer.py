"""Fan-out's contract, translated to and from jobs, authors and dead letters."""

from typing import Any

import grpc
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc, job_pb2
from feed.post.v1 import delivery_pb2

from fanout_svc.domain import Delivery, Job
from fanout_svc.jobs import JobRepository
from fanout_svc.steering import AuthorPreview, Steering
from meshkit.clock import now_ms
from meshkit.errors import NotFoundError, invalid_field
from meshkit.ids import id_bytes, id_from
from meshkit.paging import PageTokens, page_size
from meshkit.queue.port import Queue
from meshkit.rpc.convert import timestamp

_SCOPE = "running-jobs"
_QUEUES = ("fanout.posts", "fanout.turns", "fanout.chunks", "fanout.bulk", "timeline.follows")
_DEFAULT_LETTERS = 20
_MAX_LETTERS = 100

Context = grpc.aio.ServicerContext[Any, Any]


class FanoutServicer(fanout_service_pb2_grpc.FanoutServiceServicer):
    """feed.fanout.v1.FanoutService."""

    def __init__(self, jobs: JobRepository, steering: Steering, queue: Queue, tokens: PageTokens) -> None:
        self._jobs = jobs
        self._steering = steering
        self._queue = queue
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

    async def ListDeadLetters(
        self, request: fanout_service_pb2.ListDeadLettersRequest, context: Context
    ) -> fanout_service_pb2.ListDeadLettersResponse:
        limit = min(request.limit or _DEFAULT_LETTERS, _MAX_LETTERS)
        letters = await self._queue.dead_letters(_queue_of(request.queue), limit=limit)
        return fanout_service_pb2.ListDeadLettersResponse(
            dead_letters=[
                fanout_service_pb2.DeadLetter(topic=letter.topic, reason=letter.reason, body=letter.body) for letter in letters
            ]
        )

    async def RedriveDeadLetters(
        self, request: fanout_service_pb2.RedriveDeadLettersRequest, context: Context
    ) -> fanout_service_pb2.RedriveDeadLettersResponse:
        count = await self._queue.redrive(_queue_of(request.queue))
        return fanout_service_pb2.RedriveDeadLettersResponse(count=count)

    async def PreviewThreshold(
        self, request: fanout_service_pb2.PreviewThresholdRequest, context: Context
    ) -> fanout_service_pb2.PreviewThresholdResponse:
        preview = await self._steering.preview(request.threshold)
        return fanout_service_pb2.PreviewThresholdResponse(
            threshold=preview.threshold,
            authors=map(_encode_author, preview.authors),
            deliveries_a_day=preview.deliveries_a_day,
            merges_a_day=preview.merges_a_day,
        )

    async def _job(self, job: Job) -> job_pb2.Job:
        if job.finished_ms:
            return _encode_job(job, job.chunk_count, job.delivered_count)
        done = await self._jobs.done_chunks(job)
        return _encode_job(job, len(done), sum(done.values()))


def _queue_of(name: str) -> str:
    if name not in _QUEUES:
        raise invalid_field("queue", f"must be one of: {', '.join(_QUEUES)}")
    return name


def _encode_job(job: Job, done_chunks: int, delivered: int) -> job_pb2.Job:
    return job_pb2.Job(
        job_id=job.job_id,
        author_id=job.author_id,
        state=job_pb2.JOB_STATE_DONE if job.finished_ms else job_pb2.JOB_STATE_RUNNING,
        chunk_count=job.chunk_count,
        done_chunk_count=done_chunks,
        follower_count=job.follower_count,
        create_time=timestamp(job.created_ms),
        finish_time=timestamp(job.finished_ms) if job.finished_ms else None,
        kind=job_pb2.JOB_KIND_TURN if job.turn else job_pb2.JOB_KIND_POST,
        delivered_count=delivered,
        duration_ms=max(0, (job.finished_ms or now_ms()) - job.created_ms),
    )


def _encode_author(seen: AuthorPreview) -> fanout_service_pb2.AuthorCost:
    return fanout_service_pb2.AuthorCost(
        author_id=seen.author.author_id,
        follower_count=seen.author.follower_count,
        active_follower_count=seen.author.active_count,
        posts_a_day=seen.posts_a_day,
        delivery=_encode_delivery(seen.delivery),
        preview=_encode_delivery(seen.preview),
    )


def _encode_delivery(delivery: Delivery) -> "delivery_pb2.Delivery.ValueType":  # known to type checkers only
    return delivery_pb2.Delivery.Value(f"DELIVERY_{delivery.name}")
