"""The graph's contract, translated to and from the services."""

from dataclasses import replace
from typing import Any

import grpc
from feed.graph.v1 import follow_pb2, follow_service_pb2, follow_service_pb2_grpc, user_pb2, user_service_pb2, user_service_pb2_grpc

from graph_svc.domain import Follow, FollowerPosition, FollowerRange, Profile, User
from graph_svc.service import FollowService, UserService
from meshkit.buckets import BUCKETS
from meshkit.errors import PermissionDeniedError, invalid_field
from meshkit.ids import time_ms_of
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import masked_fields, request_id, timestamp
from meshkit.rpc.edge import caller

CREATE_SCOPE = "users.create"
_MAX_IDS = 10_000
_EDITABLE = ("display_name", "bio")

Context = grpc.aio.ServicerContext[Any, Any]


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """feed.graph.v1.UserService."""

    def __init__(self, users: UserService, *, open_signup: bool) -> None:
        self._users = users
        self._open_signup = open_signup

    async def CreateUser(
        self, request: user_service_pb2.CreateUserRequest, context: Context
    ) -> user_service_pb2.CreateUserResponse:
        who = caller()
        if not (self._open_signup or who.service or CREATE_SCOPE in who.scopes):
            raise PermissionDeniedError(f"making accounts needs a token with the scope {CREATE_SCOPE}", reason="SIGN_UP_RESTRICTED")
        profile = Profile(request.username, request.display_name, request.bio)
        retry = request_id(f"sign-up/{who.user_id}", request, request.request_id)
        return user_service_pb2.CreateUserResponse(user=_user(await self._users.create(profile, retry)))

    async def GetUser(self, request: user_service_pb2.GetUserRequest, context: Context) -> user_service_pb2.GetUserResponse:
        return user_service_pb2.GetUserResponse(user=_user(await self._users.get(request.user_id)))

    async def LookupUser(
        self, request: user_service_pb2.LookupUserRequest, context: Context
    ) -> user_service_pb2.LookupUserResponse:
        return user_service_pb2.LookupUserResponse(user=_user(await self._users.find(request.username)))

    async def UpdateUser(
        self, request: user_service_pb2.UpdateUserRequest, context: Context
    ) -> user_service_pb2.UpdateUserResponse:
        user_id = caller().acts_as(request.user.user_id, "user.user_id")
        fields = masked_fields(request.update_mask, request.user, _EDITABLE)
        changes = {field: getattr(request.user, field) for field in fields}
        retry = request_id(str(user_id), request, request.request_id)
        user = await self._users.update(user_id, lambda old: replace(old, **changes), retry)
        return user_service_pb2.UpdateUserResponse(user=_user(user))


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
        return follow_service_pb2.CreateFollowResponse(follow=_follow(follow))

    async def DeleteFollow(
        self, request: follow_service_pb2.DeleteFollowRequest, context: Context
    ) -> follow_service_pb2.DeleteFollowResponse:
        follower_id = caller().acts_as(request.follower_id, "follower_id")
        retry = request_id(str(follower_id), request, request.request_id)
        await self._follows.unfollow(follower_id, request.followee_id, retry)
        return follow_service_pb2.DeleteFollowResponse()

    async def IsFollowing(
        self, request: follow_service_pb2.IsFollowingRequest, context: Context
    ) -> follow_service_pb2.IsFollowingResponse:
        following = await self._follows.is_following(caller().acts_as(0), request.followee_id)
        return follow_service_pb2.IsFollowingResponse(following=following)

    async def ListFollowers(
        self, request: follow_service_pb2.ListFollowersRequest, context: Context
    ) -> follow_service_pb2.ListFollowersResponse:
        scope = _scope("followers", request.user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._follows.followers_page(request.user_id, page_size(request.page_size), last)
        return follow_service_pb2.ListFollowersResponse(
            users=map(_user, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )

    async def ListFollowing(
        self, request: follow_service_pb2.ListFollowingRequest, context: Context
    ) -> follow_service_pb2.ListFollowingResponse:
        scope = _scope("following", request.user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._follows.following_page(request.user_id, page_size(request.page_size), last)
        return follow_service_pb2.ListFollowingResponse(
            users=map(_user, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )

    async def ListFollowerRange(
        self, request: follow_service_pb2.ListFollowerRangeRequest, context: Context
    ) -> follow_service_pb2.ListFollowerRangeResponse:
        within = FollowerRange(
            _position("start", request.range.start) if request.range.HasField("start") else None,
            _position("end", request.range.end) if request.range.HasField("end") else None,
        )
        positions, on = await self._follows.follower_range(request.user_id, within, limit=_limit(request.limit))
        return follow_service_pb2.ListFollowerRangeResponse(
            follower_ids=[position.user_id for position in positions],
            next=follow_pb2.FollowerPosition(bucket=on.bucket, user_id=on.user_id) if on else None,
        )

    async def ListFolloweeIds(
        self, request: follow_service_pb2.ListFolloweeIdsRequest, context: Context
    ) -> follow_service_pb2.ListFolloweeIdsResponse:
        ids = await self._follows.followee_ids(request.user_id, after=request.after_user_id, limit=_limit(request.limit))
        return follow_service_pb2.ListFolloweeIdsResponse(followee_ids=ids)


def _scope(query: str, user_id: int) -> str:
    return f"{query}/{user_id}/by/{caller().user_id}"


def _limit(requested: int) -> int:
    return min(requested or _MAX_IDS, _MAX_IDS)


def _position(end: str, position: follow_pb2.FollowerPosition) -> FollowerPosition:
    if position.bucket > BUCKETS:
        raise invalid_field(f"range.{end}.bucket", f"must be at most {BUCKETS:,}, the end of the last one")
    return FollowerPosition(position.bucket, position.user_id)


def _follow(follow: Follow) -> follow_pb2.Follow:
    created = timestamp(time_ms_of(follow.version))
    return follow_pb2.Follow(follower_id=follow.follower_id, followee_id=follow.followee_id, create_time=created)


def _user(user: User) -> user_pb2.User:
    return user_pb2.User(
        user_id=user.user_id,
        username=user.profile.username,
        display_name=user.profile.display_name,
        bio=user.profile.bio,
        create_time=timestamp(time_ms_of(user.user_id)),
        follower_count=user.follower_count,
        following_count=user.following_count,
    )
