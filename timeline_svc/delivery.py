"""Writing to timelines: new posts, and what a follow or an unfollow brings or takes."""

from collections.abc import Sequence

from meshkit.clock import now_ms
from meshkit.ids import time_ms_of
from timeline_svc.feed import REBUILT_ENTRIES, SETTLED_AFTER_MS
from timeline_svc.packed import Entry
from timeline_svc.ports import Graph, TimelineStore
from timeline_svc.pull import Puller


class Delivery:
    """Puts entries into timelines."""

    def __init__(self, store: TimelineStore) -> None:
        self._store = store

    async def push(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist, and tell how many hold it."""
        return await self._store.push_home(entry, user_ids) if user_ids else 0

    async def push_author(self, entry: Entry) -> None:
        """Put an entry among its author's recent posts and into the author's own timeline.

        Whoever rebuilds a timeline from recent posts relies on this being done before followers are pushed to.
        """
        await self._store.push_author(entry)
        await self._store.push_home(entry, [entry.author_id])


class FollowChanges:
    """Brings a new followee's posts into the follower's timeline, and takes a former one's out."""

    def __init__(self, store: TimelineStore, puller: Puller, graph: Graph) -> None:
        self._store = store
        self._puller = puller
        self._graph = graph

    async def apply(self, follower_id: int, followee_id: int, version: int, *, following: bool) -> None:
        """Apply a change of an edge, which is committed; changes may come twice and out of order."""
        if now_ms() - time_ms_of(version) > SETTLED_AFTER_MS // 2:
            # Newer changes of the edge may be forgotten already: what counts is how it stands now.
            following = await self._graph.is_following(follower_id, followee_id)
        floor = await self._store.note_follow(follower_id, followee_id, version, following=following)
        if following and floor is not None:
            await self._backfill(follower_id, followee_id, floor)

    async def _backfill(self, follower_id: int, followee_id: int, floor: int) -> None:
        """Merge in the followee's posts as far down as the timeline reaches: fewer would cut the others' off there too."""
        recent = await self._puller.since(followee_id, floor, limit=REBUILT_ENTRIES)
        if recent.post_ids:
            entries = [Entry(post_id, followee_id) for post_id in recent.post_ids]
            await self._store.add_home(follower_id, entries, recent.floor)
