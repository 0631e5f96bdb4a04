"""The calls of the graph that several test modules make."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from feed.graph.v1 import block_service_pb2 as block_pb
from feed.graph.v1 import follow_pb2, relation_pb2, user_pb2, user_service_pb2
from feed.graph.v1 import follow_request_service_pb2 as request_pb
from feed.graph.v1 import follow_service_pb2 as pb
from feed.graph.v1 import mute_service_pb2 as mute_pb
from feed.graph.v1 import visibility_service_pb2 as visibility_pb
from google.protobuf.field_mask_pb2 import FieldMask

from tests.rpc.client import Stubs, Tokens, pages

Range = follow_pb2.FollowerRange
Position = follow_pb2.FollowerPosition
MANY = 100
Listing = (
    request_pb.ListFollowRequestsResponse
    | request_pb.ListSentFollowRequestsResponse
    | block_pb.ListBlocksResponse
    | mute_pb.ListMutesResponse
)
L = TypeVar("L", bound=Listing)


class Graph:
    """The follow graph, called as any user."""

    def __init__(self, connected: Stubs, tokens: Tokens) -> None:
        self.stubs = connected
        self.tokens = tokens

    async def follow(self, follower: int, followee: int, *, request_id: str = "", as_user: int = 0) -> follow_pb2.Follow:
        """Make an edge."""
        request = pb.CreateFollowRequest(followee_id=followee, follower_id=as_user, request_id=request_id)
        return (await self.stubs.follows.CreateFollow(request, metadata=self.tokens.user(follower))).follow

    async def unfollow(self, follower: int, followee: int, *, request_id: str = "", as_user: int = 0) -> None:
        """Remove an edge."""
        request = pb.DeleteFollowRequest(followee_id=followee, follower_id=as_user, request_id=request_id)
        await self.stubs.follows.DeleteFollow(request, metadata=self.tokens.user(follower))

    async def remove_follower(self, user: int, follower: int, *, request_id: str = "") -> None:
        """End another's edge to oneself."""
        request = pb.RemoveFollowerRequest(follower_id=follower, request_id=request_id)
        await self.stubs.follows.RemoveFollower(request, metadata=self.tokens.user(user))

    async def asks(self, follower: int, followee: int) -> bool:
        """Ask for a request."""
        request = pb.IsFollowingRequest(followee_id=followee)
        return (await self.stubs.follows.IsFollowing(request, metadata=self.tokens.user(follower))).requested

    async def is_following(self, follower: int, followee: int) -> bool:
        """Ask for an edge."""
        request = pb.IsFollowingRequest(followee_id=followee)
        return (await self.stubs.follows.IsFollowing(request, metadata=self.tokens.user(follower))).following

    async def followers(self, viewer: int, user: int, token: str = "", size: int = 0) -> pb.ListFollowersResponse:
        """Give a page of followers."""
        request = pb.ListFollowersRequest(user_id=user, page_size=size, page_token=token)
        return await self.stubs.follows.ListFollowers(request, metadata=self.tokens.user(viewer))

    async def following(self, viewer: int, user: int, token: str = "", size: int = 0) -> pb.ListFollowingResponse:
        """Give a page of followees."""
        request = pb.ListFollowingRequest(user_id=user, page_size=size, page_token=token)
        return await self.stubs.follows.ListFollowing(request, metadata=self.tokens.user(viewer))

    async def range(self, user: int, within: Range | None = None, limit: int = 0) -> pb.ListFollowerRangeResponse:
        """Give the first followers inside a range."""
        request = pb.ListFollowerRangeRequest(user_id=user, range=within, limit=limit)
        return await self.stubs.follows.ListFollowerRange(request, metadata=self.tokens.service("fanout"))

    async def first(self, users: Sequence[int], limit: int = 0) -> list[pb.ListFollowerRangeResponse]:
        """Give the first followers of each of several users."""
        request = pb.ListFirstFollowersRequest(user_ids=users, limit=limit)
        return list((await self.stubs.follows.ListFirstFollowers(request, metadata=self.tokens.service("fanout"))).accounts)

    async def whole_range(self, user: int, within: Range, limit: int) -> list[int]:
        """Give all followers inside a range, with as many calls as it takes."""
        ids: list[int] = []
        while True:
            answer = await self.range(user, within, limit)
            assert len(answer.follower_ids) <= limit
            ids += answer.follower_ids
            if not answer.HasField("next"):
                return ids
            assert len(ids) < MANY, "the range does not end"
            within = Range(start=answer.next, end=within.end if within.HasField("end") else None)

    async def followee_ids(self, user: int, after: int = 0, limit: int = 0) -> list[int]:
        """Give followees by id, as a service asks."""
        request = pb.ListFolloweeIdsRequest(user_id=user, after_user_id=after, limit=limit)
        return list((await self.stubs.follows.ListFolloweeIds(request, metadata=self.tokens.service())).followee_ids)

    async def left(self, user: int, after: int = 0, limit: int = 0) -> dict[int, int]:
        """Give the versions with which authors left a feed lately, as a service asks."""
        request = pb.ListLeftAuthorsRequest(user_id=user, after_user_id=after, limit=limit)
        answer = await self.stubs.follows.ListLeftAuthors(request, metadata=self.tokens.service())
        return {author.author_id: author.edge_version for author in answer.authors}

    async def counts(self, user: int) -> tuple[int, int]:
        """Give how many follow a user, and how many the user follows."""
        request = user_service_pb2.GetUserRequest(user_id=user)
        found = (await self.stubs.users.GetUser(request, metadata=self.tokens.user(user))).user
        return found.follower_count, found.following_count

    async def all_followers(self, user: int, size: int = 100, between: Callable[[], Awaitable[object]] | None = None) -> list[int]:
        """Page through all followers."""
        found = await pages(partial(self.followers, 1, user, size=size), between=between)
        return [each.user_id for page in found for each in page.users]

    async def all_following(self, user: int, size: int = 100, between: Callable[[], Awaitable[object]] | None = None) -> list[int]:
        """Page through all followees."""
        found = await pages(partial(self.following, 1, user, size=size), between=between)
        return [each.user_id for page in found for each in page.users]

    async def set_private(self, user: int, *, private: bool) -> user_pb2.User:
        """Make an account private, or public."""
        wish = user_pb2.User(user_id=user, private=private)
        request = user_service_pb2.UpdateUserRequest(user=wish, update_mask=FieldMask(paths=["private"]))
        return (await self.stubs.users.UpdateUser(request, metadata=self.tokens.user(user))).user

    async def approve(self, user: int, follower: int, *, request_id: str = "") -> follow_pb2.Follow:
        """Let somebody follow."""
        request = request_pb.ApproveFollowRequestRequest(follower_id=follower, request_id=request_id)
        return (await self.stubs.requests.ApproveFollowRequest(request, metadata=self.tokens.user(user))).follow

    async def reject(self, user: int, follower: int, *, request_id: str = "") -> None:
        """Refuse a request."""
        request = request_pb.RejectFollowRequestRequest(follower_id=follower, request_id=request_id)
        await self.stubs.requests.RejectFollowRequest(request, metadata=self.tokens.user(user))

    async def requests(self, user: int, token: str = "", size: int = 0) -> request_pb.ListFollowRequestsResponse:
        """Give a page of who asks."""
        request = request_pb.ListFollowRequestsRequest(page_size=size, page_token=token)
        return await self.stubs.requests.ListFollowRequests(request, metadata=self.tokens.user(user))

    async def sent(self, user: int, token: str = "", size: int = 0) -> request_pb.ListSentFollowRequestsResponse:
        """Give a page of who is asked."""
        request = request_pb.ListSentFollowRequestsRequest(page_size=size, page_token=token)
        return await self.stubs.requests.ListSentFollowRequests(request, metadata=self.tokens.user(user))

    async def block(self, user: int, other: int, *, request_id: str = "") -> None:
        """Block somebody."""
        request = block_pb.CreateBlockRequest(blocked_id=other, request_id=request_id)
        await self.stubs.blocks.CreateBlock(request, metadata=self.tokens.user(user))

    async def unblock(self, user: int, other: int, *, request_id: str = "") -> None:
        """End a block."""
        request = block_pb.DeleteBlockRequest(blocked_id=other, request_id=request_id)
        await self.stubs.blocks.DeleteBlock(request, metadata=self.tokens.user(user))

    async def blocks(self, user: int, token: str = "", size: int = 0) -> block_pb.ListBlocksResponse:
        """Give a page of who is blocked."""
        request = block_pb.ListBlocksRequest(page_size=size, page_token=token)
        return await self.stubs.blocks.ListBlocks(request, metadata=self.tokens.user(user))

    async def mute(self, user: int, other: int, *, request_id: str = "") -> None:
        """Mute somebody."""
        request = mute_pb.CreateMuteRequest(muted_id=other, request_id=request_id)
        await self.stubs.mutes.CreateMute(request, metadata=self.tokens.user(user))

    async def unmute(self, user: int, other: int, *, request_id: str = "") -> None:
        """End a mute."""
        request = mute_pb.DeleteMuteRequest(muted_id=other, request_id=request_id)
        await self.stubs.mutes.DeleteMute(request, metadata=self.tokens.user(user))

    async def mutes(self, user: int, token: str = "", size: int = 0) -> mute_pb.ListMutesResponse:
        """Give a page of who is muted."""
        request = mute_pb.ListMutesRequest(page_size=size, page_token=token)
        return await self.stubs.mutes.ListMutes(request, metadata=self.tokens.user(user))

    async def relation(self, viewer: int, author: int) -> relation_pb2.Relation:
        """Tell how a viewer stands to an author, as a service asks."""
        request = visibility_pb.GetRelationRequest(viewer_id=viewer, author_id=author)
        return (await self.stubs.visibility.GetRelation(request, metadata=self.tokens.service())).relation

    async def visible(self, viewer: int, authors: Sequence[int]) -> list[int]:
        """Give whose posts a viewer may see, as a service asks."""
        request = visibility_pb.ListVisibleAuthorsRequest(viewer_id=viewer, author_ids=authors)
        return list((await self.stubs.visibility.ListVisibleAuthors(request, metadata=self.tokens.service())).author_ids)

    async def all_of(self, listing: Callable[[int, str, int], Awaitable[L]], user: int, size: int = 100) -> list[int]:
        """Page through all of `requests`, `sent`, `blocks` or `mutes`."""

        async def fetch(token: str) -> L:
            return await listing(user, token, size)

        return [each.user_id for page in await pages(fetch) for each in page.users]
