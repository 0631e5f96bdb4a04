"""Making a home timeline that is missing: by pull, while it already takes pushes."""

import asyncio

from timeline_svc.ports import Graph, TimelineStore
from timeline_svc.pull import Puller
from timeline_svc.turns import Turns

REBUILT_ENTRIES = 800


class Rebuilder:
    """Makes timelines. All that one is made of is asked for after it was begun, so that nothing is lost of what happens meanwhile.

    What is published comes by push, by pull, or by both. Who is unfollowed, muted or blocked is hidden in what was begun. Who left
    shortly before is asked for, since posts may still be on their way, and who came back, since older changes may. Who turns to
    pull is marked in what was begun, or is found turned.
    """

    def __init__(self, store: TimelineStore, puller: Puller, graph: Graph, turns: Turns) -> None:
        self._store = store
        self._puller = puller
        self._graph = graph
        self._turns = turns

    async def rebuild(self, viewer_ids: list[int]) -> None:
        """Make the timeline of one viewer. Raises UnavailableError."""
        (viewer_id,) = viewer_ids
        generation = await self._store.begin_home(viewer_id)
        changed, followees = await self._sources(viewer_id)
        marks = self._turns.among(followees)
        entries = await self._puller.newest([*followees, viewer_id], before=None, need=REBUILT_ENTRIES)
        floor = entries[-1].post_id if len(entries) == REBUILT_ENTRIES else 0
        gone = {author_id: changed[author_id] for author_id in changed.keys() - set(followees)}
        back = {author_id: changed[author_id] for author_id in changed.keys() & set(followees)}
        await self._store.complete_home(viewer_id, generation, entries[::-1], floor, marks=marks, left=gone, back=back)

    async def _sources(self, viewer_id: int) -> tuple[dict[int, int], list[int]]:
        """Give who left the feed lately, and the followees; all turns are known then.

        All three are asked for at the same time. Where anybody left or came back lately, the followees are asked for again: only an
        answer that is begun after the other tells which of the two an author is.
        """
        asked = self._graph.left(viewer_id), self._graph.followees(viewer_id), self._turns.refresh()
        changed, followees, _ = await asyncio.gather(*asked)
        return changed, await self._graph.followees(viewer_id) if changed else followees
