"""The graph and post services, as the timeline service calls them, over the world in dictionaries; and its own service's client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from feed.event.v1 import event_pb2
from feed.graph.v1 import (
    follow_service_pb2,
    follow_service_pb2_grpc,
    relation_pb2,
    visibility_service_pb2,
    visibility_service_pb2_grpc,
)
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc, post_service_pb2, post_service_pb2_grpc
from feed.timeline.v1 import timeline_service_pb2, timeline_service_pb2_grpc
from google.protobuf.descriptor import ServiceDescriptor

from meshkit.errors import NotFoundError
from meshkit.ids import IdGenerator
from meshkit.issuer import Issuer
from meshkit.queue.memory import MemoryQueue
from meshkit.rpc.convert import timestamp
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.rpc.server import Listen, serving
from meshkit.topics import FOLLOW_CHANGED, POST_CHANGED
from tests.timeline.home import World
from timeline_svc.__main__ import running
from timeline_svc.settings import TimelineSettings

DESCRIPTORS: tuple[ServiceDescriptor, ...] = (
    follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"],
    visibility_service_pb2.DESCRIPTOR.services_by_name["VisibilityService"],
    post_service_pb2.DESCRIPTOR.services_by_name["PostService"],
    delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
)
Context = grpc.aio.ServicerContext[Any, Any]


class Follows(follow_service_pb2_grpc.FollowServiceServicer):
    """The edges, over gRPC."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ListFolloweeIds(  # noqa: D102, N802
        self, request: follow_service_pb2.ListFolloweeIdsRequest, _context: Context
    ) -> follow_service_pb2.ListFolloweeIdsResponse:
        followees = [user for user in await self._world.followees(request.user_id) if user > request.after_user_id]
        return follow_service_pb2.ListFolloweeIdsResponse(followee_ids=followees[: request.limit])

    async def ListLeftAuthors(  # noqa: D102, N802
        self, request: follow_service_pb2.ListLeftAuthorsRequest, _context: Context
    ) -> follow_service_pb2.ListLeftAuthorsResponse:
        left = sorted((await self._world.left(request.user_id)).items())
        authors = [follow_service_pb2.LeftAuthor(author_id=author_id, edge_version=version) for author_id, version in left]
        return follow_service_pb2.ListLeftAuthorsResponse(authors=authors)


class Visibility(visibility_service_pb2_grpc.VisibilityServiceServicer):
    """How users stand to each other, over gRPC."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def GetRelation(  # noqa: D102, N802
        self, request: visibility_service_pb2.GetRelationRequest, _context: Context
    ) -> visibility_service_pb2.GetRelationResponse:
        relation = await self._world.relation(request.viewer_id, request.author_id)
        return visibility_service_pb2.GetRelationResponse(relation=relation_pb2.Relation(**asdict(relation)))


class Posts(post_service_pb2_grpc.PostServiceServicer):
    """The posts, over gRPC."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def LookupPosts(  # noqa: D102, N802
        self, request: post_service_pb2.LookupPostsRequest, _context: Context
    ) -> post_service_pb2.LookupPostsResponse:
        return post_service_pb2.LookupPostsResponse(
            posts=[self._world.posts[post_id] for post_id in await self._world.lookup(request.post_ids)]
        )

    async def ListAuthorEntries(  # noqa: D102, N802
        self, request: post_service_pb2.ListAuthorEntriesRequest, _context: Context
    ) -> post_service_pb2.ListAuthorEntriesResponse:
        before = request.before_post_id or None
        entries = await self._world.by_authors(request.author_ids, before=before, limit=request.limit)
        authors = [post_service_pb2.AuthorEntries(author_id=author, post_ids=ids) for author, ids in entries.items()]
        return post_service_pb2.ListAuthorEntriesResponse(authors=authors)

    async def DescribePost(  # noqa: D102, N802
        self, request: post_service_pb2.DescribePostRequest, _context: Context
    ) -> post_service_pb2.DescribePostResponse:
        post = await self._world.describe(request.post_id)
        if post is None:
            raise NotFoundError("post_id: there is no such post", reason="POST_NOT_FOUND")
        return post_service_pb2.DescribePostResponse(
            author_id=post.author_id, delivery=delivery_pb2.Delivery.ValueType(post.delivery), deleted=post.deleted
        )


class Deliveries(delivery_service_pb2_grpc.DeliveryServiceServicer):
    """Who turned, over gRPC."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ListAuthorDeliveries(  # noqa: D102, N802
        self, request: delivery_service_pb2.ListAuthorDeliveriesRequest, _context: Context
    ) -> delivery_service_pb2.ListAuthorDeliveriesResponse:
        return delivery_service_pb2.ListAuthorDeliveriesResponse(
            deliveries=[
                delivery_pb2.AuthorDelivery(
                    author_id=turned.author_id,
                    turn=turned.turn,
                    turn_time=timestamp(turned.turned_ms),
                    delivery=delivery_pb2.DELIVERY_PUSH if turned.pushed else delivery_pb2.DELIVERY_PULL,
                )
                for turned in await self._world.turned(request.after_turn)
            ]
        )


@dataclass
class Timelines:
    """A running timeline service: its stub, and what it takes to call it."""

    stub: "timeline_service_pb2_grpc.TimelineServiceAsyncStub"  # known to type checkers only
    world: World
    queue: MemoryQueue
    issuer: Issuer
    service_token: str
    ids: IdGenerator = field(default_factory=lambda: IdGenerator(1))

    def user(self, user_id: int) -> tuple[tuple[str, str], ...]:
        """Give the metadata of a user's call."""
        return (("authorization", f"Bearer {self.issuer.user_token(user_id)}"),)

    def service(self) -> tuple[tuple[str, str], ...]:
        """Give the metadata of another service's call."""
        return ((SERVICE_TOKEN_METADATA, self.service_token),)

    async def follow_changed(self, follower_id: int, followee_id: int, version: int, *, following: bool) -> None:
        """Tell the service that an edge changed; returns when it is applied."""
        changed = event_pb2.FollowChanged(
            follower_id=follower_id, followee_id=followee_id, edge_version=version, following=following
        )
        await self.queue.publish(FOLLOW_CHANGED, event_pb2.Event(follow_changed=changed).SerializeToString())

    async def post_changed(self, post_id: int, version: int) -> None:
        """Broadcast that a post changed."""
        changed = event_pb2.PostChanged(post_id=post_id, version=version)
        await self.queue.publish(POST_CHANGED, event_pb2.Event(post_changed=changed).SerializeToString(), mandatory=False)


@asynccontextmanager
async def timelines(redis_url: str, folder: Path) -> AsyncIterator[Timelines]:
    """Run the timeline service beside its peers."""
    world, settings = World(), TimelineSettings(data_dir=folder, redis_url=redis_url, timeline_listen="127.0.0.1:0")
    # Each implements only what is called.
    follows, posts = Follows(world), Posts(world)  # type: ignore[abstract]
    visibility, deliveries = Visibility(world), Deliveries(world)  # type: ignore[abstract]
    issuer = Issuer.load_or_create(settings.keys_dir)
    services = settings.service_tokens("fanout")

    def register(server: grpc.aio.Server) -> None:
        follow_service_pb2_grpc.add_FollowServiceServicer_to_server(follows, server)
        visibility_service_pb2_grpc.add_VisibilityServiceServicer_to_server(visibility, server)
        post_service_pb2_grpc.add_PostServiceServicer_to_server(posts, server)
        delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server(deliveries, server)

    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(serving(Listen(), settings.user_tokens(), services, DESCRIPTORS, register))
        queue = await stack.enter_async_context(MemoryQueue())
        settings = settings.model_copy(update={"graph_address": peers, "post_address": peers})
        address = await stack.enter_async_context(running(settings, queue))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub: timeline_service_pb2_grpc.TimelineServiceAsyncStub = timeline_service_pb2_grpc.TimelineServiceStub(channel)
        yield Timelines(stub, world, queue, issuer, services.mint())


def write(service: Timelines, author: int, count: int) -> list[int]:
    """Commit posts and give their ids, newest first."""
    written = [service.ids.next() for _ in range(count)]
    for post_id in written:
        service.world.add(post_id, author)
    return written[::-1]


async def read(
    service: Timelines, user: int, request: timeline_service_pb2.GetHomeTimelineRequest | None = None
) -> tuple[list[int], str]:
    """Read a page as a user: post ids and the next page's token."""
    request = request or timeline_service_pb2.GetHomeTimelineRequest()
    response = await service.stub.GetHomeTimeline(request, metadata=service.user(user))
    return [item.post.post_id for item in response.items], response.next_page_token
