"""Fan-out over gRPC: the service run as it is, between services that are served by the test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from feed.fanout.v1 import fanout_service_pb2, job_pb2
from feed.post.v1 import delivery_pb2

from fanout_svc.domain import AuthorDelivery, Delivery, Job
from fanout_svc.jobs import JobRepository
from meshkit.engines import open_table
from meshkit.errors import UnavailableError
from meshkit.issuer import Issuer
from meshkit.queue.memory import MemoryQueue
from tests.fanout.peers import JobRequest, ListRequest, Service, running_service

AUTHOR, STRANGER = 7, 8
TURN = 3


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service."""
    async with MemoryQueue(pause=lambda _deliveries: 0.0) as queue, running_service(tmp_path, queue) as running:
        yield running


async def done_job(service: Service, job_id: int) -> job_pb2.Job:
    """Wait until a job is done."""
    async with asyncio.timeout(20):
        while True:
            job = (await service.stub.GetJob(JobRequest(job_id=job_id), metadata=service.metadata())).job
            if job.state == job_pb2.JOB_STATE_DONE:
                return job
            await asyncio.sleep(0.005)


async def plan_without_delivery(service: Service, count: int) -> list[int]:
    """Note jobs that nobody works on: planned in the future, they are not late."""
    ids = [service.ids.next() for _ in range(count)]
    async with open_table(service.settings.table_url) as table:
        for job_id in ids:
            await JobRepository(table).create(Job(job_id, AUTHOR, 3, 25, 4_000_000_000_123))
    return ids


async def test_a_post_goes_all_the_way(service: Service) -> None:
    """A new post, told by the queue, reaches every follower once over gRPC, and its job can be seen to be done."""
    followers = range(1_000, 1_095)
    service.followers.set(AUTHOR, followers)
    service.timelines.missing = set(followers[:5])
    job = await done_job(service, post_id := await service.created(AUTHOR))
    assert service.timelines.times(post_id) == dict.fromkeys(followers, 1)
    assert (job.job_id, job.author_id, job.state) == (post_id, AUTHOR, job_pb2.JOB_STATE_DONE)
    assert (job.chunk_count, job.done_chunk_count, job.follower_count) == (10, 10, 95)
    assert (job.kind, job.delivered_count) == (job_pb2.JOB_KIND_POST, 90)
    assert job.finish_time.ToMilliseconds() >= job.create_time.ToMilliseconds() > 0
    assert job.duration_ms == job.finish_time.ToMilliseconds() - job.create_time.ToMilliseconds()
    assert not (await service.list(ListRequest())).jobs


async def test_an_author_without_an_account_has_no_followers(service: Service) -> None:
    """A post of somebody whom the graph does not know goes to the author only; a post that needs no job has none."""
    post_id = await service.created(STRANGER)
    assert service.timelines.authors == [(post_id, STRANGER)]
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await service.stub.GetJob(JobRequest(job_id=post_id), metadata=service.metadata())
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("followers", [4, 95])
async def test_a_turn_goes_all_the_way(service: Service, followers: int) -> None:
    """A turn, told by the queue, marks every follower's timeline over gRPC; then the author is pulled, and no post is pushed."""
    ids = range(1_000, 1_000 + followers)
    service.followers.set(AUTHOR, ids)
    service.deliveries.of[AUTHOR] = AuthorDelivery(Delivery.BOTH, TURN)
    event_id = await service.turned(AUTHOR, TURN)
    if followers > 10:
        job = await done_job(service, event_id)
        assert (job.kind, job.delivered_count, job.author_id) == (job_pb2.JOB_KIND_TURN, followers, AUTHOR)
    assert service.timelines.times_marked(AUTHOR, TURN) == dict.fromkeys(ids, 1)
    assert service.deliveries.of[AUTHOR] == AuthorDelivery(Delivery.PULL, TURN)
    await service.created(AUTHOR, Delivery.PULL)
    assert service.timelines.pushed == []


async def test_authors_are_turned_and_previewed(tmp_path: Path) -> None:
    """An author over the threshold turns by posting; the preview shows what is so and what would be, with the sums."""
    thresholds = {"pull_threshold": 20, "push_threshold": 15}
    async with MemoryQueue() as queue, running_service(tmp_path, queue, **thresholds) as service:
        service.followers.set(AUTHOR, range(1_000, 1_030))
        service.followers.set(STRANGER, range(1_000, 1_008))
        for author in (AUTHOR, AUTHOR, STRANGER):
            await service.created(author)
        assert service.deliveries.of[AUTHOR].delivery is Delivery.BOTH
        preview = await service.stub.PreviewThreshold(fanout_service_pb2.PreviewThresholdRequest(), metadata=service.metadata())
        higher = await service.stub.PreviewThreshold(
            fanout_service_pb2.PreviewThresholdRequest(threshold=1_000), metadata=service.metadata()
        )
    assert (preview.threshold, higher.threshold) == (20, 1_000)
    shown = [(each.author_id, each.follower_count, each.delivery, each.preview) for each in preview.authors]
    assert shown == [
        (AUTHOR, 30, delivery_pb2.DELIVERY_BOTH, delivery_pb2.DELIVERY_PULL),
        (STRANGER, 8, delivery_pb2.DELIVERY_PUSH, delivery_pb2.DELIVERY_PUSH),
    ]
    assert preview.merges_a_day == 300
    assert preview.deliveries_a_day == pytest.approx(8, rel=0.01)
    assert {each.preview for each in higher.authors} == {delivery_pb2.DELIVERY_PUSH}
    assert higher.merges_a_day == 0
    assert higher.deliveries_a_day == pytest.approx(sum(each.active_follower_count * each.posts_a_day for each in higher.authors))


async def test_a_peer_that_fails_is_asked_again(service: Service) -> None:
    """What goes wrong in another service is no loss: the delivery is tried until it works."""
    service.followers.set(AUTHOR, range(1_000, 1_030))
    service.timelines.failures.extend([ValueError("a bug there"), *[UnavailableError("away", reason="AWAY")] * 20])
    await done_job(service, post_id := await service.created(AUTHOR))
    assert service.timelines.times(post_id) == dict.fromkeys(range(1_000, 1_030), 1)


async def test_running_jobs_are_paged(service: Service) -> None:
    """Pages lead through all running jobs, oldest first, each once; a running job has no finish time."""
    ids = await plan_without_delivery(service, 25)
    first = await service.list(ListRequest())
    assert [job.job_id for job in first.jobs] == ids[:20]
    job = first.jobs[0]
    assert (job.state, job.done_chunk_count, job.HasField("finish_time")) == (job_pb2.JOB_STATE_RUNNING, 0, False)
    assert job.create_time.ToMilliseconds() == 4_000_000_000_123
    second = await service.list(ListRequest(page_token=first.next_page_token))
    assert ([job.job_id for job in second.jobs], second.next_page_token) == (ids[20:], "")
    exact = await service.list(ListRequest(page_size=25))
    assert (len(exact.jobs), exact.next_page_token) == (25, "")
    shown, token, more = [], "", True
    while more:
        page = await service.list(ListRequest(page_size=4, page_token=token))
        shown += [job.job_id for job in page.jobs]
        token = page.next_page_token
        more = bool(token)
    assert shown == ids


async def test_a_wrong_request_is_refused(service: Service) -> None:
    """A negative page size and a foreign token are INVALID_ARGUMENT; a job that never was is NOT_FOUND; 0 is no job."""
    for request in (ListRequest(page_size=-1), ListRequest(page_token="AAAA")):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.list(request)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for job_id, code in ((5, grpc.StatusCode.NOT_FOUND), (0, grpc.StatusCode.INVALID_ARGUMENT)):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.GetJob(JobRequest(job_id=job_id), metadata=service.metadata())
        assert failure.value.code() is code


async def test_jobs_are_for_services_only(service: Service) -> None:
    """Users and nobody do not see jobs."""
    issuer = Issuer.load_or_create(service.settings.keys_dir)
    user = (("authorization", f"Bearer {issuer.user_token(AUTHOR)}"),)
    for metadata, code in ((user, grpc.StatusCode.PERMISSION_DENIED), ((), grpc.StatusCode.UNAUTHENTICATED)):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.ListRunningJobs(ListRequest(), metadata=metadata)
        assert failure.value.code() is code
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.GetJob(JobRequest(job_id=1), metadata=metadata)
        assert failure.value.code() is code
