"""What several servicers of the graph translate alike."""

from typing import Any

import grpc
from feed.graph.v1 import follow_pb2, user_pb2

from graph_svc.domain import Follow, FollowState, User
from meshkit.ids import time_ms_of
from meshkit.rpc.convert import timestamp
from meshkit.rpc.edge import caller

Context = grpc.aio.ServicerContext[Any, Any]
_STATES = {
    FollowState.ACTIVE: follow_pb2.FollowState.FOLLOW_STATE_ACTIVE,
    FollowState.REQUESTED: follow_pb2.FollowState.FOLLOW_STATE_REQUESTED,
}


def user_message(user: User) -> user_pb2.User:
    """Give an account as the contract has it."""
    return user_pb2.User(
        user_id=user.user_id,
        username=user.profile.username,
        display_name=user.profile.display_name,
        bio=user.profile.bio,
        create_time=timestamp(time_ms_of(user.user_id)),
        follower_count=user.follower_count,
        following_count=user.following_count,
        private=user.profile.private,
    )


def follow_message(follow: Follow) -> follow_pb2.Follow:
    """Give an edge, or a request, as the contract has it."""
    return follow_pb2.Follow(
        follower_id=follow.follower_id,
        followee_id=follow.followee_id,
        create_time=timestamp(time_ms_of(follow.follow_id)),
        state=_STATES[follow.state],
    )


def scope_of(query: str, user_id: int) -> str:
    """Name what a page token is for: a listing of an account, paged through by the caller."""
    return f"{query}/{user_id}/by/{caller().user_id}"
