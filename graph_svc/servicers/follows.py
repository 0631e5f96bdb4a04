"""feed.graph.v1.FollowService, translated."""

import asyncio
from collections.abc import Sequence

from feed.graph.v1 import follow_pb2, follow_service_pb2, follow_service_pb2_grpc

from graph_svc.domain import FollowerPosition, FollowerRange
from graph_svc.follows import FollowService
from graph_svc.servicers.messages import Context, follow_message, scope_of, user_message
from meshkit.buckets import BUCKETS
from meshkit.errors import invalid_field
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import request_id
from meshkit.rpc.edge import caller

_MAX_IDS = 10_000
_MAX_FIRST = 1_000


class FollowServicer(follow_service_pb2_grpc.FollowServiceServicer):
    """feed.graph.v1.FollowService."""

    def __init__(self, follows: FollowService, tokens: PageTokens) -> None:
        self._follows = follows
        self._tokens = tokens

    async def CreateFollow(
        self, request: follow_service_pb2.CreateFollowRequest, context: Context
    ) -> follow_service_pb2.CreateFollowResponse:
        follower_id = caller().acts_as(request.follower_id, "follower_id")
        retry = request_id(str(follower_id), request, request.request_id)
        follow = await self._follows.follow(follower_id, request.followee_id, retry)
        return follow_service_pb2.CreateFollowResponse(follow=follow_message(follow))

    async def DeleteFollow(
        self, request: follow_service_pb2.DeleteFollowRequest, context: Context
    ) -> follow_service_pb2.DeleteFollowResponse:
        follower_id = caller().acts_as(request.follower_id, "follower_id")
        retry = request_id(str(follower_id), request, request.request_id)
        await self._follows.unfollow(follower_id, request.followee_id, retry)
        return follow_service_pb2.DeleteFollowResponse()

    async def RemoveFollower(
        self, request: follow_service_pb2.RemoveFollowerRequest, context: Context
    ) -> follow_service_pb2.RemoveFollowerResponse:
        user_id = caller().acts_as(0)
        retry = request_id(str(user_id), request, request.request_id)
        await self._follows.remove_follower(user_id, request.follower_id, retry)
        return follow_service_pb2.RemoveFollowerResponse()

    async def IsFollowing(
        self, request: follow_service_pb2.IsFollowingRequest, context: Context
    ) -> follow_service_pb2.IsFollowingResponse:
        tie = await self._follows.tie(caller().acts_as(0), request.followee_id)
        return follow_service_pb2.IsFollowingResponse(following=bool(tie.follow_id), requested=bool(tie.request_id))

    async def ListFollowers(
        self, request: follow_service_pb2.ListFollowersRequest, context: Context
    ) -> follow_service_pb2.ListFollowersResponse:
        scope = scope_of("followers", request.user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._follows.followers_page(caller().user_id, request.user_id, page_size(request.page_size), last)
        return follow_service_pb2.ListFollowersResponse(
            users=map(user_message, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )

    async def ListFollowing(
        self, request: follow_service_pb2.ListFollowingRequest, context: Context
    ) -> follow_service_pb2.ListFollowingResponse:
        scope = scope_of("following", request.user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._follows.following_page(caller().user_id, request.user_id, page_size(request.page_size), last)
        return follow_service_pb2.ListFollowingResponse(
            users=map(user_message, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )

    async def ListFollowerRange(
        self, request: follow_service_pb2.ListFollowerRangeRequest, context: Context
    ) -> follow_service_pb2.ListFollowerRangeResponse:
        within = FollowerRange(
            _position("start", request.range.start) if request.range.HasField("start") else None,
            _position("end", request.range.end) if request.range.HasField("end") else None,
        )
        return _follower_range(*await self._follows.follower_range(request.user_id, within, limit=_limit(request.limit)))

    async def ListFirstFollowers(
        self, request: follow_service_pb2.ListFirstFollowersRequest, context: Context
    ) -> follow_service_pb2.ListFirstFollowersResponse:
        limit = min(request.limit or _MAX_FIRST, _MAX_FIRST)
        found = await asyncio.gather(
            *(self._follows.follower_range(user_id, FollowerRange(), limit=limit) for user_id in request.user_ids)
        )
        return follow_service_pb2.ListFirstFollowersResponse(accounts=[_follower_range(*each) for each in found])

    async def ListFolloweeIds(
        self, request: follow_service_pb2.ListFolloweeIdsRequest, context: Context
    ) -> follow_service_pb2.ListFolloweeIdsResponse:
        ids = await self._follows.followee_ids(request.user_id, after=request.after_user_id, limit=_limit(request.limit))
        return follow_service_pb2.ListFolloweeIdsResponse(followee_ids=ids)

    async def ListLeftAuthors(
        self, request: follow_service_pb2.ListLeftAuthorsRequest, context: Context
    ) -> follow_service_pb2.ListLeftAuthorsResponse:
        left = await self._follows.left_authors(request.user_id, after=request.after_user_id, limit=_limit(request.limit))
        authors = [follow_service_pb2.LeftAuthor(author_id=author, edge_version=version) for author, version in left]
        return follow_service_pb2.ListLeftAuthorsResponse(authors=authors)


def _follower_range(follower_ids: Sequence[int], on: FollowerPosition | None) -> follow_service_pb2.ListFollowerRangeResponse:
    return follow_service_pb2.ListFollowerRangeResponse(
        follower_ids=follower_ids,
        next=follow_pb2.FollowerPosition(bucket=on.bucket, user_id=on.user_id) if on else None,
    )


def _limit(requested: int) -> int:
    return min(requested or _MAX_IDS, _MAX_IDS)


def _position(end: str, position: follow_pb2.FollowerPosition) -> FollowerPosition:
    if position.bucket > BUCKETS:
        raise invalid_field(f"range.{end}.bucket", f"must be at most {BUCKETS:,}, the end of the last one")
    return FollowerPosition(position.bucket, position.user_id)
