"""Writing to timelines: new posts, and what a change of the feed's sources brings or takes."""

from collections.abc import Sequence

from timeline_svc.packed import Entry
from timeline_svc.ports import Graph, TimelineStore
from timeline_svc.pull import Puller
from timeline_svc.rebuild import REBUILT_ENTRIES
from timeline_svc.turns import Turns


class Delivery:
    """Puts entries into timelines."""

    def __init__(self, store: TimelineStore) -> None:
        self._store = store

    async def push(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist, and tell how many hold it."""
        return await self._store.push_home(entry, user_ids) if user_ids else 0

    async def push_own(self, entries: Sequence[Entry]) -> list[int]:
        """Put entries among their authors' recent posts and into the authors' own timelines; give the places of those that failed.

        Whoever rebuilds a timeline from recent posts relies on this being done before followers are pushed to.
        """
        return await self._store.push_own(entries)

    async def mark_pulled(self, author_id: int, turn: int, user_ids: Sequence[int]) -> int:
        """Mark an author as pulled in the home timelines that exist, and tell how many are marked."""
        return await self._store.mark_pulled(author_id, turn, user_ids) if user_ids else 0


class SourceChanges:
    """Brings the posts of an author who came into a feed, and takes out those of one who left."""

    def __init__(self, store: TimelineStore, puller: Puller, graph: Graph, turns: Turns) -> None:
        self._store = store
        self._puller = puller
        self._graph = graph
        self._turns = turns

    async def hide(self, viewer_id: int, author_id: int, version: int) -> None:
        """Take an author's posts out of a viewer's feed, and keep out those that are on their way."""
        await self._store.note_source(viewer_id, author_id, version, came=False)

    async def apply(self, viewer_id: int, author_id: int, version: int, *, came: bool) -> None:
        """Apply a change that is committed; changes may come twice, out of order, and after newer ones were forgotten."""
        if await self._graph.is_followee(viewer_id, author_id) != came:
            return  # a newer change is on its way, or was here
        if not came:
            await self.hide(viewer_id, author_id, version)
            return
        # Asked for after the edge was committed: whoever turns later finds it.
        turn = (await self._turns.of([author_id])).get(author_id, 0)
        floor = await self._store.note_source(viewer_id, author_id, version, came=True, turn=turn)
        if floor is not None:
            await self._backfill(viewer_id, author_id, floor)

    async def _backfill(self, viewer_id: int, author_id: int, floor: int) -> None:
        """Merge in the author's posts as far down as the timeline reaches: fewer would cut the others' off there too."""
        recent = await self._puller.since(author_id, floor, limit=REBUILT_ENTRIES)
        if recent.post_ids:
            entries = [Entry(post_id, author_id) for post_id in recent.post_ids]
            await self._store.add_home(viewer_id, entries, recent.floor)
