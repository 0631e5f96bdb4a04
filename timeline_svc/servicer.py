"""The timelines' contract, translated to and from the service."""

from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
from feed.post.v1 import delivery_pb2
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2, timeline_service_pb2_grpc

from meshkit.errors import invalid_field
from meshkit.ids import id_bytes, id_from
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.edge import caller
from timeline_svc.delivery import Delivery, SourceChanges
from timeline_svc.explain import SHOWN, Explainer, Explanation
from timeline_svc.feed import HomeFeed
from timeline_svc.packed import Entry

_ITEMS = timeline_service_pb2.GetHomeTimelineResponse.ITEMS_FIELD_NUMBER
_POST = timeline_pb2.FeedItem.POST_FIELD_NUMBER
_NEXT_PAGE_TOKEN = timeline_service_pb2.GetHomeTimelineResponse.NEXT_PAGE_TOKEN_FIELD_NUMBER
_LENGTH_DELIMITED = 2
_MODES = frozenset(timeline_pb2.FeedMode.values())

Value = TypeVar("Value", int, str)

Context = grpc.aio.ServicerContext[Any, Any]


class TimelineServicer(timeline_service_pb2_grpc.TimelineServiceServicer):
    """feed.timeline.v1.TimelineService."""

    def __init__(
        self, feed: HomeFeed, delivery: Delivery, sources: SourceChanges, explainer: Explainer, tokens: PageTokens
    ) -> None:
        self._feed = feed
        self._delivery = delivery
        self._sources = sources
        self._explainer = explainer
        self._tokens = tokens

    # The answer is put together from the posts' encoded bytes: decoding and encoding them again would only take time.
    async def GetHomeTimeline(  # type: ignore[override]
        self, request: timeline_service_pb2.GetHomeTimelineRequest, context: Context
    ) -> bytes:
        viewer_id = caller().acts_as(request.user_id)
        if request.mode not in _MODES:
            raise invalid_field("mode", f"must be one of {', '.join(timeline_pb2.FeedMode.keys())}")
        scope = f"feed/{timeline_pb2.FEED_MODE_CHRONOLOGICAL}/{viewer_id}"
        last = self._tokens.open(scope, _one_of("page_token", request.page_token, "cursor", request.cursor))
        size = page_size(_one_of("page_size", request.page_size, "limit", request.limit))
        page = await self._feed.page(viewer_id, size, id_from(last) if last else None)
        token = self._tokens.sign(scope, id_bytes(page.last)) if page.last else ""
        return encode_feed(page.items, token)

    async def ExplainPost(
        self, request: timeline_service_pb2.ExplainPostRequest, context: Context
    ) -> timeline_service_pb2.ExplainPostResponse:
        who = caller()
        if who.service and not request.user_id:
            raise invalid_field("user_id", "is required: say whose feed")
        viewer_id = request.user_id if who.service else who.acts_as(request.user_id)
        explained = await self._explainer.explain(viewer_id, request.post_id)
        explanation = _explanation(explained if who.service else explained.for_the_user())
        explanation.post_id, explanation.user_id = request.post_id, viewer_id
        if not who.service:
            explanation.delivery = delivery_pb2.DELIVERY_UNSPECIFIED
        return timeline_service_pb2.ExplainPostResponse(explanation=explanation)

    async def HideAuthor(
        self, request: timeline_service_pb2.HideAuthorRequest, context: Context
    ) -> timeline_service_pb2.HideAuthorResponse:
        await self._sources.hide(request.viewer_id, request.author_id, request.edge_version)
        return timeline_service_pb2.HideAuthorResponse()

    async def MarkPulledAuthor(
        self, request: timeline_service_pb2.MarkPulledAuthorRequest, context: Context
    ) -> timeline_service_pb2.MarkPulledAuthorResponse:
        marked = await self._delivery.mark_pulled(request.author_id, request.turn, request.user_ids)
        return timeline_service_pb2.MarkPulledAuthorResponse(marked_count=marked)

    async def PushEntries(
        self, request: timeline_service_pb2.PushEntriesRequest, context: Context
    ) -> timeline_service_pb2.PushEntriesResponse:
        delivered = await self._delivery.push(_entry(request.entry), request.user_ids)
        return timeline_service_pb2.PushEntriesResponse(delivered_count=delivered)

    async def PushAuthorEntries(
        self, request: timeline_service_pb2.PushAuthorEntriesRequest, context: Context
    ) -> timeline_service_pb2.PushAuthorEntriesResponse:
        not_noted = await self._delivery.push_own([_entry(entry) for entry in request.entries])
        return timeline_service_pb2.PushAuthorEntriesResponse(not_noted=not_noted)


def frame_item(post: bytes) -> bytes:
    """Make an encoded post the item of a feed, as it stands in the response."""
    return _field(_ITEMS, _field(_POST, post))


def encode_feed(items: Sequence[bytes], next_page_token: str) -> bytes:
    """Encode a GetHomeTimelineResponse from framed items."""
    tail = _field(_NEXT_PAGE_TOKEN, next_page_token.encode()) if next_page_token else b""
    return b"".join([*items, tail])


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >> 7:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _one_of(name: str, value: Value, alias: str, aliased: Value) -> Value:
    if value and aliased and value != aliased:
        raise invalid_field(alias, f"is another name for {name}: give one of the two")
    return value or aliased


def _explanation(explained: Explanation) -> timeline_pb2.Explanation:
    explanation = timeline_pb2.Explanation(
        in_feed=explained.reason in SHOWN,
        reason=timeline_pb2.Reason.Value(f"REASON_{explained.reason.name}"),
        description=explained.reason.value,
    )
    if explained.post:
        explanation.author_id, explanation.delivery = explained.post.author_id, _delivery(explained.post.delivery)
    return explanation


def _delivery(number: int) -> delivery_pb2.Delivery.ValueType:
    return delivery_pb2.Delivery.ValueType(number)


def _entry(entry: timeline_pb2.Entry) -> Entry:
    return Entry(entry.post_id, entry.author_id)
