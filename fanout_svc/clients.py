"""The other services, as fan-out calls them."""

from collections.abc import Sequence
from typing import ClassVar

from feed.graph.v1 import follow_pb2, follow_service_pb2, follow_service_pb2_grpc, user_service_pb2, user_service_pb2_grpc
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2, timeline_service_pb2_grpc

from fanout_svc.domain import FollowerRange, Position
from meshkit.errors import NotFoundError
from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer

_FOLLOWS = follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"].methods_by_name
_USERS = user_service_pb2.DESCRIPTOR.services_by_name["UserService"].methods_by_name
_TIMELINES = timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"].methods_by_name


class FollowersClient:
    """The follow graph, over gRPC."""

    CALLS: ClassVar = (
        Call(_USERS["GetUser"], seconds=5, patient=True),
        Call(_FOLLOWS["ListFollowerRange"], seconds=10, patient=True),
    )

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._follows: follow_service_pb2_grpc.FollowServiceAsyncStub = follow_service_pb2_grpc.FollowServiceStub(peer.channel)
        self._users: user_service_pb2_grpc.UserServiceAsyncStub = user_service_pb2_grpc.UserServiceStub(peer.channel)

    async def count(self, user_id: int) -> int:
        """Count a user's followers; 0 for a user without an account."""
        try:
            response = await self._peer.call(self._users.GetUser, user_service_pb2.GetUserRequest(user_id=user_id))
        except NotFoundError:
            return 0
        return response.user.follower_count

    async def page(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[Sequence[int], Position | None]:
        """Give followers inside a range, and where to go on; None at its end."""
        request = follow_service_pb2.ListFollowerRangeRequest(user_id=user_id, range=encode_range(within), limit=limit)
        response = await self._peer.call(self._follows.ListFollowerRange, request)
        return response.follower_ids, decode_position(response.next) if response.HasField("next") else None


class TimelinesClient:
    """The timelines, over gRPC."""

    CALLS: ClassVar = (
        Call(_TIMELINES["PushAuthorEntry"], seconds=5, patient=True),
        Call(_TIMELINES["PushEntries"], seconds=10, patient=True),
    )

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._timelines: timeline_service_pb2_grpc.TimelineServiceAsyncStub = timeline_service_pb2_grpc.TimelineServiceStub(
            peer.channel
        )

    async def push_author(self, post_id: int, author_id: int) -> None:
        """Note a post among its author's own; done before it is pushed to followers."""
        entry = timeline_pb2.Entry(post_id=post_id, author_id=author_id)
        request = timeline_service_pb2.PushAuthorEntryRequest(entry=entry)
        await self._peer.call(self._timelines.PushAuthorEntry, request)

    async def push(self, post_id: int, author_id: int, user_ids: Sequence[int]) -> int:
        """Put a post into home timelines, and tell how many hold it."""
        entry = timeline_pb2.Entry(post_id=post_id, author_id=author_id)
        request = timeline_service_pb2.PushEntriesRequest(entry=entry, user_ids=user_ids)
        return (await self._peer.call(self._timelines.PushEntries, request)).delivered_count


def encode_range(within: FollowerRange) -> follow_pb2.FollowerRange:
    """Encode a range as the contract has it."""
    return follow_pb2.FollowerRange(start=_encode_position(within.start), end=_encode_position(within.end))


def decode_range(within: follow_pb2.FollowerRange) -> FollowerRange:
    """Decode what `encode_range` made."""
    return FollowerRange(
        decode_position(within.start) if within.HasField("start") else None,
        decode_position(within.end) if within.HasField("end") else None,
    )


def decode_position(position: follow_pb2.FollowerPosition) -> Position:
    """Decode a place among followers."""
    return Position(position.bucket, position.user_id)


def _encode_position(position: Position | None) -> follow_pb2.FollowerPosition | None:
    return follow_pb2.FollowerPosition(bucket=position.bucket, user_id=position.user_id) if position else None
