"""The other services, as the timeline service calls them."""

from collections.abc import Sequence
from typing import ClassVar

from feed.graph.v1 import follow_service_pb2, follow_service_pb2_grpc, visibility_service_pb2, visibility_service_pb2_grpc
from feed.post.v1 import (
    delivery_pb2,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    post_service_pb2,
    post_service_pb2_grpc,
)

from meshkit.errors import NotFoundError
from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer
from timeline_svc.ports import PostCopy, PostFacts, Relation, Turned

_IDS_PER_CALL = 10_000
_POSTS_PER_CALL = 1_000
_TURNS_PER_CALL = 1_000
_FOLLOWS = follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"].methods_by_name
_VISIBILITY = visibility_service_pb2.DESCRIPTOR.services_by_name["VisibilityService"].methods_by_name
_POSTS = post_service_pb2.DESCRIPTOR.services_by_name["PostService"].methods_by_name
_DELIVERIES = delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"].methods_by_name


class GraphClient:
    """The follow graph, over gRPC."""

    CALLS: ClassVar = (
        Call(_FOLLOWS["ListFolloweeIds"], seconds=5),
        Call(_FOLLOWS["ListLeftAuthors"], seconds=5),
        Call(_VISIBILITY["GetRelation"], seconds=5),
    )

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._follows: follow_service_pb2_grpc.FollowServiceAsyncStub = follow_service_pb2_grpc.FollowServiceStub(peer.channel)
        self._visibility: visibility_service_pb2_grpc.VisibilityServiceAsyncStub = (
            visibility_service_pb2_grpc.VisibilityServiceStub(peer.channel)
        )

    async def followees(self, user_id: int) -> list[int]:
        """Give everybody whose posts belong in a user's feed now."""
        found: list[int] = []
        while True:
            ids = await self._ids_after(user_id, found[-1] if found else 0, _IDS_PER_CALL)
            found += ids
            if len(ids) < _IDS_PER_CALL:
                return found

    async def is_followee(self, user_id: int, author_id: int) -> bool:
        """Tell whether an author's posts belong in a user's feed now."""
        return author_id in await self._ids_after(user_id, author_id - 1, 1)

    async def left(self, user_id: int) -> dict[int, int]:
        """Give authors who left a user's feed within the last two hours, with the change's version."""
        found: dict[int, int] = {}
        while True:
            request = follow_service_pb2.ListLeftAuthorsRequest(user_id=user_id, after_user_id=max(found, default=0))
            authors = (await self._peer.call(self._follows.ListLeftAuthors, request)).authors
            found |= {author.author_id: author.edge_version for author in authors}
            if len(authors) < _IDS_PER_CALL:
                return found

    async def relation(self, viewer_id: int, author_id: int) -> Relation:
        """Tell how a viewer stands to an author now."""
        request = visibility_service_pb2.GetRelationRequest(viewer_id=viewer_id, author_id=author_id)
        relation = (await self._peer.call(self._visibility.GetRelation, request)).relation
        return Relation(
            can_view=relation.can_view,
            in_feed=relation.in_feed,
            following=relation.following,
            edge_version=relation.edge_version,
            requested=relation.requested,
            muted=relation.muted,
            blocking=relation.blocking,
            blocked=relation.blocked,
        )

    async def _ids_after(self, user_id: int, after: int, limit: int) -> Sequence[int]:
        request = follow_service_pb2.ListFolloweeIdsRequest(user_id=user_id, after_user_id=after, limit=limit)
        return (await self._peer.call(self._follows.ListFolloweeIds, request)).followee_ids


class PostsClient:
    """The posts, over gRPC."""

    CALLS: ClassVar = (
        Call(_POSTS["LookupPosts"], seconds=5),
        Call(_POSTS["ListAuthorEntries"], seconds=10),
        Call(_POSTS["DescribePost"], seconds=5),
        Call(_DELIVERIES["ListAuthorDeliveries"], seconds=5),
    )

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._posts: post_service_pb2_grpc.PostServiceAsyncStub = post_service_pb2_grpc.PostServiceStub(peer.channel)
        self._deliveries: delivery_service_pb2_grpc.DeliveryServiceAsyncStub = delivery_service_pb2_grpc.DeliveryServiceStub(
            peer.channel
        )

    async def lookup(self, post_ids: Sequence[int]) -> dict[int, PostCopy]:
        """Give those of the posts that exist now."""
        copies: dict[int, PostCopy] = {}
        for start in range(0, len(post_ids), _POSTS_PER_CALL):
            request = post_service_pb2.LookupPostsRequest(post_ids=post_ids[start : start + _POSTS_PER_CALL])
            response = await self._peer.call(self._posts.LookupPosts, request)
            copies |= {post.post_id: PostCopy(post.version, post.SerializeToString()) for post in response.posts}
        return copies

    async def by_authors(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> dict[int, Sequence[int]]:
        """Give each author's newest post ids below an id, newest first; `limit` is at most 1,000."""
        request = post_service_pb2.ListAuthorEntriesRequest(author_ids=author_ids, before_post_id=before or 0, limit=limit)
        response = await self._peer.call(self._posts.ListAuthorEntries, request)
        return {author.author_id: author.post_ids for author in response.authors}

    async def describe(self, post_id: int) -> PostFacts | None:
        """Tell what a post is to feeds, deleted or not; None if there never was one."""
        try:
            answer = await self._peer.call(self._posts.DescribePost, post_service_pb2.DescribePostRequest(post_id=post_id))
        except NotFoundError:
            return None
        return PostFacts(answer.author_id, answer.delivery, answer.deleted)

    async def turned(self, after_turn: int) -> list[Turned]:
        """Give the authors whose last turn came after one, in the order of their turns."""
        found: list[Turned] = []
        while True:
            request = delivery_service_pb2.ListAuthorDeliveriesRequest(after_turn=found[-1].turn if found else after_turn)
            deliveries = (await self._peer.call(self._deliveries.ListAuthorDeliveries, request)).deliveries
            found += map(_turned, deliveries)
            if len(deliveries) < _TURNS_PER_CALL:
                return found


def _turned(delivery: delivery_pb2.AuthorDelivery) -> Turned:
    pushed = delivery.delivery == delivery_pb2.DELIVERY_PUSH
    return Turned(delivery.author_id, delivery.turn, delivery.turn_time.ToMilliseconds(), pushed)
