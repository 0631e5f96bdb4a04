"""Fan-out over gRPC: the service run as it is, between a graph and timelines that are served by the test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from feed.event.v1 import event_pb2
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc, job_pb2
from feed.graph.v1 import follow_pb2, follow_service_pb2, follow_service_pb2_grpc, user_pb2, user_service_pb2, user_service_pb2_grpc
from feed.timeline.v1 import timeline_service_pb2, timeline_service_pb2_grpc

from fanout_svc.__main__ import running
from fanout_svc.clients import decode_range
from fanout_svc.domain import Job
from fanout_svc.jobs import JobRepository
from fanout_svc.settings import FanoutSettings
from meshkit.engines import open_table
from meshkit.errors import NotFoundError, UnavailableError
from meshkit.ids import IdGenerator
from meshkit.issuer import Issuer
from meshkit.queue.memory import MemoryQueue
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.rpc.server import Listen, serving
from meshkit.topics import POST_CREATED
from tests.fanout.ports import Followers, Timelines

AUTHOR, STRANGER = 7, 8
Context = grpc.aio.ServicerContext[Any, Any]
ListRequest = fanout_service_pb2.ListRunningJobsRequest


class Graph(follow_service_pb2_grpc.FollowServiceServicer, user_service_pb2_grpc.UserServiceServicer):
    """The graph service, as fan-out calls it."""

    def __init__(self) -> None:
        self.followers = Followers()

    async def GetUser(  # noqa: D102, N802
        self, request: user_service_pb2.GetUserRequest, _context: Context
    ) -> user_service_pb2.GetUserResponse:
        if request.user_id not in self.followers.of:
            raise NotFoundError("no such user", reason="USER_NOT_FOUND")
        user = user_pb2.User(user_id=request.user_id, follower_count=await self.followers.count(request.user_id))
        return user_service_pb2.GetUserResponse(user=user)

    async def ListFollowerRange(  # noqa: D102, N802
        self, request: follow_service_pb2.ListFollowerRangeRequest, _context: Context
    ) -> follow_service_pb2.ListFollowerRangeResponse:
        ids, following = await self.followers.page(request.user_id, decode_range(request.range), limit=request.limit)
        position = follow_pb2.FollowerPosition(bucket=following.bucket, user_id=following.user_id) if following else None
        return follow_service_pb2.ListFollowerRangeResponse(follower_ids=ids, next=position)


class TimelineService(timeline_service_pb2_grpc.TimelineServiceServicer):
    """The timeline service, as fan-out calls it."""

    def __init__(self) -> None:
        self.timelines = Timelines()

    async def PushAuthorEntry(  # noqa: D102, N802
        self, request: timeline_service_pb2.PushAuthorEntryRequest, _context: Context
    ) -> timeline_service_pb2.PushAuthorEntryResponse:
        await self.timelines.push_author(request.entry.post_id, request.entry.author_id)
        return timeline_service_pb2.PushAuthorEntryResponse()

    async def PushEntries(  # noqa: D102, N802
        self, request: timeline_service_pb2.PushEntriesRequest, _context: Context
    ) -> timeline_service_pb2.PushEntriesResponse:
        count = await self.timelines.push(request.entry.post_id, request.entry.author_id, request.user_ids)
        return timeline_service_pb2.PushEntriesResponse(delivered_count=count)


@dataclass
class Service:
    """A running fan-out service and all around it."""

    stub: "fanout_service_pb2_grpc.FanoutServiceAsyncStub"  # known to type checkers only
    settings: FanoutSettings
    queue: MemoryQueue
    followers: Followers
    timelines: Timelines
    ids: IdGenerator = field(default_factory=lambda: IdGenerator(0))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Give the metadata of a service's call."""
        return ((SERVICE_TOKEN_METADATA, self.settings.service_tokens("operator").mint()),)

    async def created(self, author_id: int) -> int:
        """Tell of a new post; returns when it is delivered."""
        post_id = self.ids.next()
        created = event_pb2.PostCreated(post_id=post_id, author_id=author_id)
        await self.queue.publish(POST_CREATED, event_pb2.Event(post_created=created).SerializeToString())
        return post_id

    async def list(self, request: ListRequest) -> fanout_service_pb2.ListRunningJobsResponse:
        """List running jobs."""
        return await self.stub.ListRunningJobs(request, metadata=self.metadata())


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service; chunks hold about ten followers, calls four, and nothing is late."""
    graph, timelines = Graph(), TimelineService()  # type: ignore[abstract]  # only what is called
    settings = FanoutSettings(data_dir=tmp_path, fanout_listen="127.0.0.1:0", chunk_size=10, batch_size=4, late_seconds=1e6)
    descriptors = (
        follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"],
        user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
        timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"],
    )

    def register(server: grpc.aio.Server) -> None:
        follow_service_pb2_grpc.add_FollowServiceServicer_to_server(graph, server)
        user_service_pb2_grpc.add_UserServiceServicer_to_server(graph, server)
        timeline_service_pb2_grpc.add_TimelineServiceServicer_to_server(timelines, server)

    async with AsyncExitStack() as stack:
        tokens = settings.service_tokens("peers")
        peers = await stack.enter_async_context(serving(Listen(), settings.user_tokens(), tokens, descriptors, register))
        queue = await stack.enter_async_context(MemoryQueue(pause=lambda _deliveries: 0.0))
        settings = settings.model_copy(update={"graph_address": peers, "timeline_address": peers})
        address = await stack.enter_async_context(running(settings, queue))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub: fanout_service_pb2_grpc.FanoutServiceAsyncStub = fanout_service_pb2_grpc.FanoutServiceStub(channel)
        yield Service(stub, settings, queue, graph.followers, timelines.timelines)


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
    post_id = await service.created(AUTHOR)
    assert service.timelines.times(post_id) == dict.fromkeys(followers, 1)
    job = (await service.stub.GetJob(fanout_service_pb2.GetJobRequest(job_id=post_id), metadata=service.metadata())).job
    assert (job.job_id, job.author_id, job.state) == (post_id, AUTHOR, job_pb2.JOB_STATE_DONE)
    assert (job.chunk_count, job.done_chunk_count, job.follower_count) == (10, 10, 95)
    assert job.finish_time.ToMilliseconds() >= job.create_time.ToMilliseconds() > 0
    assert not (await service.list(ListRequest())).jobs


async def test_an_author_without_an_account_has_no_followers(service: Service) -> None:
    """A post of somebody whom the graph does not know is planned for nobody, and done."""
    post_id = await service.created(STRANGER)
    assert service.timelines.authors == [(post_id, STRANGER)]
    job = (await service.stub.GetJob(fanout_service_pb2.GetJobRequest(job_id=post_id), metadata=service.metadata())).job
    assert (job.state, job.chunk_count, job.follower_count) == (job_pb2.JOB_STATE_DONE, 1, 0)


async def test_a_peer_that_fails_is_asked_again(service: Service) -> None:
    """What goes wrong in another service is no loss: the delivery is tried until it works."""
    service.followers.set(AUTHOR, range(1_000, 1_030))
    service.timelines.failures.extend([ValueError("a bug there"), *[UnavailableError("away", reason="AWAY")] * 20])
    post_id = await service.created(AUTHOR)
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
            await service.stub.GetJob(fanout_service_pb2.GetJobRequest(job_id=job_id), metadata=service.metadata())
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
            await service.stub.GetJob(fanout_service_pb2.GetJobRequest(job_id=1), metadata=metadata)
        assert failure.value.code() is code
