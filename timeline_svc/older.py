"""Reading a feed below its timeline: by pull, a long stretch at a time, kept for the pages that follow."""

import asyncio

import structlog

from meshkit.errors import UnavailableError
from meshkit.single_flight import SingleFlight
from timeline_svc.ports import Graph, HomeWindow, TimelineStore
from timeline_svc.pull import Puller
from timeline_svc.segment import Segment

# It takes about as long to find many entries as few: all followees are asked. So there are as many as followees, within bounds.
SEGMENT_ENTRIES = 800
MOST_SEGMENT_ENTRIES = 8_000

Flights = SingleFlight[int, Segment]

_log = structlog.get_logger(__name__)


class OlderPosts:
    """Reads on where a timeline ends."""

    def __init__(self, store: TimelineStore, puller: Puller, graph: Graph, flights: Flights) -> None:
        self._store = store
        self._puller = puller
        self._graph = graph
        self._flights = flights

    async def page(self, viewer_id: int, home: HomeWindow, below: int, need: int) -> list[int]:
        """Give `need` post ids below one, newest first; fewer only at the very end. Raises UnavailableError."""
        stamp, hidden = home.sources.stamp, home.sources.hidden
        segment = home.segment
        found: list[int] = []
        while True:
            if segment is None or not segment.holds(stamp, below):
                segment = await self._put_together(viewer_id, stamp, below)
            found += segment.below(below, hidden)
            if segment.floor == 0 or len(found) >= need:
                break
            below = segment.floor
        if segment.floor and len(found) < max(need, len(segment.post_ids) // 2):
            self.look_ahead(viewer_id, stamp, found[need - 1], None)
        return found[:need]

    def look_ahead(self, viewer_id: int, stamp: bytes, below: int, segment: Segment | None) -> None:
        """Begin to put together what lies below a post id, which a reader will soon want, unless a segment holds it."""
        if segment is None or not segment.holds(stamp, below):
            self._flights.start([viewer_id], lambda _: self._kept(viewer_id, stamp, below))

    async def _put_together(self, viewer_id: int, stamp: bytes, below: int) -> Segment:
        """Wait for the stretch below a post id: the one that is under way if it holds that, else one of our own."""
        for _ in range(2):
            (task,) = self._flights.start([viewer_id], lambda _: self._kept(viewer_id, stamp, below))
            segment = await asyncio.shield(task)
            if segment.holds(stamp, below):
                return segment
        return await self._kept(viewer_id, stamp, below)

    async def _kept(self, viewer_id: int, stamp: bytes, below: int) -> Segment:
        authors = [*await self._graph.followees(viewer_id), viewer_id]
        wanted = min(max(SEGMENT_ENTRIES, len(authors)), MOST_SEGMENT_ENTRIES)
        entries = await self._puller.newest(authors, before=below, need=wanted)
        segment = Segment.of(stamp, below, entries, wanted=wanted)
        try:
            await self._store.keep_segment(viewer_id, segment)
        except UnavailableError:
            _log.debug("timelines are away: the next page puts this together again")
        return segment
