"""The other services, as the timeline service calls them."""

from collections.abc import Sequence
from typing import ClassVar

from feed.graph.v1 import follow_service_pb2, follow_service_pb2_grpc
from feed.post.v1 import post_service_pb2, post_service_pb2_grpc

from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer
from timeline_svc.ports import PostCopy

_IDS_PER_CALL = 10_000
_POSTS_PER_CALL = 1_000
_FOLLOWS = follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"].methods_by_name
_POSTS = post_service_pb2.DESCRIPTOR.services_by_name["PostService"].methods_by_name


class GraphClient:
    """The follow graph, over gRPC."""

    CALLS: ClassVar = (Call(_FOLLOWS["ListFolloweeIds"], seconds=5),)

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._follows: follow_service_pb2_grpc.FollowServiceAsyncStub = follow_service_pb2_grpc.FollowServiceStub(peer.channel)

    async def followees(self, user_id: int) -> list[int]:
        """Give everybody whom a user follows now."""
        found: list[int] = []
        while True:
            ids = await self._ids_after(user_id, found[-1] if found else 0, _IDS_PER_CALL)
            found += ids
            if len(ids) < _IDS_PER_CALL:
                return found

    async def is_following(self, follower_id: int, followee_id: int) -> bool:
        """Tell whether an edge is there now."""
        return followee_id in await self._ids_after(follower_id, followee_id - 1, 1)

    async def _ids_after(self, user_id: int, after: int, limit: int) -> Sequence[int]:
        request = follow_service_pb2.ListFolloweeIdsRequest(user_id=user_id, after_user_id=after, limit=limit)
        return (await self._peer.call(self._follows.ListFolloweeIds, request)).followee_ids


class PostsClient:
    """The posts, over gRPC."""

    CALLS: ClassVar = (Call(_POSTS["LookupPosts"], seconds=5), Call(_POSTS["ListAuthorEntries"], seconds=10))

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._posts: post_service_pb2_grpc.PostServiceAsyncStub = post_service_pb2_grpc.PostServiceStub(peer.channel)

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
