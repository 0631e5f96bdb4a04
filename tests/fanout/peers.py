"""Fan-out run as it is, between services that the test serves over gRPC."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from feed.event.v1 import event_pb2
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc
from feed.graph.v1 import follow_pb2, follow_service_pb2, follow_service_pb2_grpc, user_pb2, user_service_pb2, user_service_pb2_grpc
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from feed.timeline.v1 import timeline_service_pb2, timeline_service_pb2_grpc

from fanout_svc.__main__ import running
from fanout_svc.clients import decode_delivery, decode_range, encode_delivery
from fanout_svc.domain import AuthorDelivery, Delivery, FollowerRange
from fanout_svc.settings import FanoutSettings
from meshkit.errors import NotFoundError, UnavailableError
from meshkit.ids import IdGenerator
from meshkit.queue.port import Queue
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.rpc.server import Listen, serving
from meshkit.topics import AUTHOR_TURNED, POST_CREATED
from tests.fanout.ports import Deliveries, Followers, Timelines

Context = grpc.aio.ServicerContext[Any, Any]
JobRequest = fanout_service_pb2.GetJobRequest
ListRequest = fanout_service_pb2.ListRunningJobsRequest
_DESCRIPTORS = (
    follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"],
    user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
    delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
    timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"],
)


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
        return await self._range(request.user_id, decode_range(request.range), request.limit)

    async def ListFirstFollowers(  # noqa: D102, N802
        self, request: follow_service_pb2.ListFirstFollowersRequest, _context: Context
    ) -> follow_service_pb2.ListFirstFollowersResponse:
        found = [await self._range(user_id, FollowerRange(), request.limit) for user_id in request.user_ids]
        return follow_service_pb2.ListFirstFollowersResponse(accounts=found)

    async def _range(self, user_id: int, within: FollowerRange, limit: int) -> follow_service_pb2.ListFollowerRangeResponse:
        ids, following = await self.followers.page(user_id, within, limit=limit)
        position = follow_pb2.FollowerPosition(bucket=following.bucket, user_id=following.user_id) if following else None
        return follow_service_pb2.ListFollowerRangeResponse(follower_ids=ids, next=position)


class TimelineService(timeline_service_pb2_grpc.TimelineServiceServicer):
    """The timeline service, as fan-out calls it."""

    def __init__(self) -> None:
        self.timelines = Timelines()

    async def PushAuthorEntries(  # noqa: D102, N802
        self, request: timeline_service_pb2.PushAuthorEntriesRequest, _context: Context
    ) -> timeline_service_pb2.PushAuthorEntriesResponse:
        not_noted = []
        for place, entry in enumerate(request.entries):
            try:
                await self.timelines.push_author(entry.post_id, entry.author_id)
            except UnavailableError:
                not_noted.append(place)
        return timeline_service_pb2.PushAuthorEntriesResponse(not_noted=not_noted)

    async def PushEntries(  # noqa: D102, N802
        self, request: timeline_service_pb2.PushEntriesRequest, _context: Context
    ) -> timeline_service_pb2.PushEntriesResponse:
        count = await self.timelines.push(request.entry.post_id, request.entry.author_id, request.user_ids)
        return timeline_service_pb2.PushEntriesResponse(delivered_count=count)

    async def MarkPulledAuthor(  # noqa: D102, N802
        self, request: timeline_service_pb2.MarkPulledAuthorRequest, _context: Context
    ) -> timeline_service_pb2.MarkPulledAuthorResponse:
        count = await self.timelines.mark_pulled(request.author_id, request.turn, request.user_ids)
        return timeline_service_pb2.MarkPulledAuthorResponse(marked_count=count)


class DeliveryService(delivery_service_pb2_grpc.DeliveryServiceServicer):
    """The post service, as fan-out calls it."""

    def __init__(self) -> None:
        self.deliveries = Deliveries()

    async def GetAuthorDelivery(  # noqa: D102, N802
        self, request: delivery_service_pb2.GetAuthorDeliveryRequest, _context: Context
    ) -> delivery_service_pb2.GetAuthorDeliveryResponse:
        now = await self.deliveries.get(request.author_id)
        return delivery_service_pb2.GetAuthorDeliveryResponse(delivery=self._encoded(request.author_id, now))

    async def SetAuthorDelivery(  # noqa: D102, N802
        self, request: delivery_service_pb2.SetAuthorDeliveryRequest, _context: Context
    ) -> delivery_service_pb2.SetAuthorDeliveryResponse:
        if request.force:
            self.deliveries.forced.discard(request.author_id)
        if request.delivery:
            await self.deliveries.turn(request.author_id, decode_delivery(request.delivery))
            if request.force:
                self.deliveries.forced.add(request.author_id)
        now = await self.deliveries.get(request.author_id)
        return delivery_service_pb2.SetAuthorDeliveryResponse(delivery=self._encoded(request.author_id, now))

    async def FinishTurn(  # noqa: D102, N802
        self, request: delivery_service_pb2.FinishTurnRequest, _context: Context
    ) -> delivery_service_pb2.FinishTurnResponse:
        await self.deliveries.finish_turn(request.author_id, request.turn)
        return delivery_service_pb2.FinishTurnResponse()

    def _encoded(self, author_id: int, now: AuthorDelivery) -> delivery_pb2.AuthorDelivery:
        forced = author_id in self.deliveries.forced
        return delivery_pb2.AuthorDelivery(
            author_id=author_id, delivery=encode_delivery(now.delivery), turn=now.turn, forced=forced
        )


@dataclass
class Service:
    """A running fan-out service and all around it. Its peers serve at one address."""

    address: str
    peers: str
    stub: "fanout_service_pb2_grpc.FanoutServiceAsyncStub"  # known to type checkers only
    settings: FanoutSettings
    queue: Queue
    followers: Followers
    timelines: Timelines
    deliveries: Deliveries
    ids: IdGenerator = field(default_factory=lambda: IdGenerator(0))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Give the metadata of a service's call."""
        return ((SERVICE_TOKEN_METADATA, self.settings.service_tokens("operator").mint()),)

    async def created(self, author_id: int, delivery: Delivery = Delivery.PUSH) -> int:
        """Tell of a new post."""
        post_id = self.ids.next()
        created = event_pb2.PostCreated(post_id=post_id, author_id=author_id, delivery=encode_delivery(delivery))
        await self.queue.publish(POST_CREATED, event_pb2.Event(post_created=created).SerializeToString())
        return post_id

    async def turned(self, author_id: int, turn: int) -> int:
        """Tell that an author turned."""
        event = event_pb2.Event(event_id=self.ids.next(), author_turned=event_pb2.AuthorTurned(author_id=author_id, turn=turn))
        await self.queue.publish(AUTHOR_TURNED, event.SerializeToString())
        return event.event_id

    async def list(self, request: ListRequest) -> fanout_service_pb2.ListRunningJobsResponse:
        """List running jobs."""
        return await self.stub.ListRunningJobs(request, metadata=self.metadata())


@asynccontextmanager
async def running_service(folder: Path, queue: Queue, **settings: object) -> AsyncIterator[Service]:
    """Run the service; unless settings say otherwise, chunks hold about ten followers, calls four, and nothing is late."""
    graph, timelines, posts = Graph(), TimelineService(), DeliveryService()  # type: ignore[abstract]  # only what is called
    small = {"data_dir": folder, "fanout_listen": "127.0.0.1:0", "chunk_size": 10, "batch_size": 4, "late_seconds": 1e6}
    wanted = FanoutSettings.model_validate({**small, **settings})

    def register(server: grpc.aio.Server) -> None:
        follow_service_pb2_grpc.add_FollowServiceServicer_to_server(graph, server)
        user_service_pb2_grpc.add_UserServiceServicer_to_server(graph, server)
        delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server(posts, server)
        timeline_service_pb2_grpc.add_TimelineServiceServicer_to_server(timelines, server)

    async with AsyncExitStack() as stack:
        tokens = wanted.service_tokens("peers")
        peers = await stack.enter_async_context(serving(Listen(), wanted.user_tokens(), tokens, _DESCRIPTORS, register))
        at_peers = dict.fromkeys(("graph_address", "post_address", "timeline_address"), peers)
        address = await stack.enter_async_context(running(wanted.model_copy(update=at_peers), queue))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub: fanout_service_pb2_grpc.FanoutServiceAsyncStub = fanout_service_pb2_grpc.FanoutServiceStub(channel)
        yield Service(address, peers, stub, wanted, queue, graph.followers, timelines.timelines, posts.deliveries)
