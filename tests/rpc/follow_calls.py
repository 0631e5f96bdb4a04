"""The calls of the follow graph that several test modules make."""

from collections.abc import Awaitable, Callable
from functools import partial

from feed.graph.v1 import follow_pb2, user_service_pb2
from feed.graph.v1 import follow_service_pb2 as pb

from tests.rpc.client import Stubs, Tokens, pages

Range = follow_pb2.FollowerRange
Position = follow_pb2.FollowerPosition
MANY = 100


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
