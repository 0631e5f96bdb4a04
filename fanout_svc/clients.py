"""The other services, as fan-out calls them."""

from collections.abc import Sequence
from typing import ClassVar

from feed.graph.v1 import follow_pb2, follow_service_pb2, follow_service_pb2_grpc, user_service_pb2, user_service_pb2_grpc
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2, timeline_service_pb2_grpc

from fanout_svc.domain import AuthorDelivery, Delivery, FollowerRange, Position
from meshkit.errors import NotFoundError, UnavailableError
from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer
from meshkit.together import Together

_FOLLOWS = follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"].methods_by_name
_USERS = user_service_pb2.DESCRIPTOR.services_by_name["UserService"].methods_by_name
_DELIVERIES = delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"].methods_by_name
_TIMELINES = timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"].methods_by_name


# What the contracts take in one call.
_MAX_ACCOUNTS = 100
_MAX_ENTRIES = 1_000


class FollowersClient:
    """The follow graph, over gRPC. Live in `together` as long as `few` is asked."""

    CALLS: ClassVar = (
        Call(_USERS["GetUser"], seconds=5, patient=True),
        Call(_FOLLOWS["ListFirstFollowers"], seconds=10, patient=True),
        Call(_FOLLOWS["ListFollowerRange"], seconds=10, patient=True),
    )

    def __init__(self, peer: Peer) -> None:
        self.together = Together(self._first, room=_MAX_ACCOUNTS, size=_one)
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

    async def few(self, user_id: int, *, limit: int) -> Sequence[int] | None:
        """Give all followers if they are fewer than `limit`, and than others ask for at the same time; else None."""
        return await self.together.ask((user_id, limit))

    async def _first(self, asked: Sequence[tuple[int, int]]) -> list[Sequence[int] | None]:
        request = follow_service_pb2.ListFirstFollowersRequest(
            user_ids=[user_id for user_id, _ in asked], limit=min(limit for _, limit in asked)
        )
        response = await self._peer.call(self._follows.ListFirstFollowers, request)
        return [None if account.HasField("next") else account.follower_ids for account in response.accounts]

    async def page(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[Sequence[int], Position | None]:
        """Give followers inside a range, and where to go on; None at its end."""
        request = follow_service_pb2.ListFollowerRangeRequest(user_id=user_id, range=encode_range(within), limit=limit)
        response = await self._peer.call(self._follows.ListFollowerRange, request)
        return response.follower_ids, decode_position(response.next) if response.HasField("next") else None


class TimelinesClient:
    """The timelines, over gRPC. Live in `together` as long as authors are pushed."""

    CALLS: ClassVar = (
        Call(_TIMELINES["PushAuthorEntries"], seconds=5, patient=True),
        Call(_TIMELINES["PushEntries"], seconds=10, patient=True),
        Call(_TIMELINES["MarkPulledAuthor"], seconds=10, patient=True),
    )

    def __init__(self, peer: Peer) -> None:
        self.together = Together(self._push_own, room=_MAX_ENTRIES, size=_one)
        self._peer = peer
        self._timelines: timeline_service_pb2_grpc.TimelineServiceAsyncStub = timeline_service_pb2_grpc.TimelineServiceStub(
            peer.channel
        )

    async def push_author(self, post_id: int, author_id: int) -> None:
        """Note a post among its author's own; done before it is pushed to followers."""
        if not await self.together.ask(timeline_pb2.Entry(post_id=post_id, author_id=author_id)):
            raise UnavailableError("a part of the timelines is away", reason="TIMELINES_AWAY")

    async def _push_own(self, entries: Sequence[timeline_pb2.Entry]) -> list[bool]:
        request = timeline_service_pb2.PushAuthorEntriesRequest(entries=entries)
        not_noted = set((await self._peer.call(self._timelines.PushAuthorEntries, request)).not_noted)
        return [number not in not_noted for number in range(len(entries))]

    async def push(self, post_id: int, author_id: int, user_ids: Sequence[int]) -> int:
        """Put a post into home timelines, and tell how many hold it."""
        entry = timeline_pb2.Entry(post_id=post_id, author_id=author_id)
        request = timeline_service_pb2.PushEntriesRequest(entry=entry, user_ids=user_ids)
        return (await self._peer.call(self._timelines.PushEntries, request)).delivered_count

    async def mark_pulled(self, author_id: int, turn: int, user_ids: Sequence[int]) -> int:
        """Note in home timelines that an author is pulled since a turn, and tell how many are marked."""
        request = timeline_service_pb2.MarkPulledAuthorRequest(author_id=author_id, turn=turn, user_ids=user_ids)
        return (await self._peer.call(self._timelines.MarkPulledAuthor, request)).marked_count


class DeliveriesClient:
    """How authors' posts get into feeds, over gRPC."""

    CALLS: ClassVar = (
        Call(_DELIVERIES["GetAuthorDelivery"], seconds=5, patient=True),
        Call(_DELIVERIES["FinishTurn"], seconds=5, patient=True),
        # The author's next post does it again.
        Call(_DELIVERIES["SetAuthorDelivery"], seconds=2),
    )

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._deliveries: delivery_service_pb2_grpc.DeliveryServiceAsyncStub = delivery_service_pb2_grpc.DeliveryServiceStub(
            peer.channel
        )

    async def get(self, author_id: int) -> AuthorDelivery:
        """Give how an author's next posts get into feeds."""
        request = delivery_service_pb2.GetAuthorDeliveryRequest(author_id=author_id)
        return _author_delivery((await self._peer.call(self._deliveries.GetAuthorDelivery, request)).delivery)

    async def turn(self, author_id: int, delivery: Delivery) -> AuthorDelivery:
        """Turn an author to PUSH or PULL, unless an operator decided; give what holds then. Fails rather than wait."""
        request = delivery_service_pb2.SetAuthorDeliveryRequest(author_id=author_id, delivery=encode_delivery(delivery))
        return _author_delivery((await self._peer.call(self._deliveries.SetAuthorDelivery, request)).delivery)

    async def finish_turn(self, author_id: int, turn: int) -> None:
        """Tell that every timeline is marked for a turn."""
        request = delivery_service_pb2.FinishTurnRequest(author_id=author_id, turn=turn)
        await self._peer.call(self._deliveries.FinishTurn, request)


def encode_delivery(delivery: Delivery) -> "delivery_pb2.Delivery.ValueType":  # known to type checkers only
    """Encode how posts get into feeds as the contract has it."""
    return delivery_pb2.Delivery.Value(f"DELIVERY_{delivery.name}")


def decode_delivery(delivery: "delivery_pb2.Delivery.ValueType") -> Delivery:
    """Decode how posts get into feeds; what is not said is PUSH."""
    if delivery == delivery_pb2.DELIVERY_UNSPECIFIED:
        return Delivery.PUSH
    return Delivery[delivery_pb2.Delivery.Name(delivery).removeprefix("DELIVERY_")]


def _author_delivery(delivery: delivery_pb2.AuthorDelivery) -> AuthorDelivery:
    return AuthorDelivery(decode_delivery(delivery.delivery), delivery.turn)


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


def _one(_key: object) -> int:
    return 1
