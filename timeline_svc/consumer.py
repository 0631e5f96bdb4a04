"""The messages that the timeline service takes from the queues."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from feed.event.v1 import event_pb2

from meshkit.queue.port import Message, Queue
from meshkit.topics import FOLLOW_CHANGED, POST_CHANGED
from timeline_svc.delivery import SourceChanges
from timeline_svc.post_cache import PostCache

_CONCURRENCY = 64


@asynccontextmanager
async def consuming(queue: Queue, sources: SourceChanges, cache: PostCache) -> AsyncIterator[None]:
    """Apply changes of feeds' sources, and drop copies of changed posts, until the context ends."""

    async def apply_follow(message: Message) -> None:
        changed = event_pb2.Event.FromString(message.body).follow_changed
        await sources.apply(changed.follower_id, changed.followee_id, changed.edge_version, came=changed.following)

    async def drop_copy(message: Message) -> None:
        changed = event_pb2.Event.FromString(message.body).post_changed
        cache.changed(changed.post_id, changed.version)

    async with (
        queue.listen([POST_CHANGED], drop_copy, missed=cache.missed_changes),
        queue.work("timeline.follows", [FOLLOW_CHANGED], apply_follow, concurrency=_CONCURRENCY),
    ):
        yield
