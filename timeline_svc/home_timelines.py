"""Timelines that are ready to be read: made when they are missing, and rid of what is no longer needed."""

import asyncio
from collections.abc import Mapping

from meshkit.clock import now_ms
from meshkit.ids import first_id_at
from meshkit.single_flight import SingleFlight
from timeline_svc.packed import State, Window
from timeline_svc.ports import HomeWindow, TimelineStore
from timeline_svc.rebuild import Rebuilder
from timeline_svc.sources import Sources
from timeline_svc.turns import Turns

# Longer than anything that was sent before a change of the feed's sources can still be under way.
SETTLED_AFTER_MS = 3_600_000
_REBUILDS = 3

Rebuilds = SingleFlight[int, None]


class HomeTimelines:
    """Gives timelines that are ready, if need be by making them."""

    def __init__(self, store: TimelineStore, rebuilder: Rebuilder, rebuilds: Rebuilds, turns: Turns) -> None:
        self._store = store
        self._rebuilder = rebuilder
        self._rebuilds = rebuilds
        self._turns = turns

    async def read(self, viewer_id: int, newest: int | None) -> HomeWindow:
        """Read a timeline's newest entries, or all and the segment below (None); without a window if it is lost again and again."""
        home = await self._store.read_home(viewer_id, newest)
        for _ in range(_REBUILDS):
            if home.window and home.window.state is State.READY:
                if home.sources.oldest_change or home.sources.marks:
                    await self._tidy(viewer_id, home.sources, home.window)
                return home
            for task in self._rebuilds.start([viewer_id], self._rebuilder.rebuild):
                await asyncio.shield(task)
            home = await self._store.read_home(viewer_id, newest)
        ready = home.window and home.window.state is State.READY
        return home if ready else HomeWindow(None, home.sources)

    async def _tidy(self, viewer_id: int, sources: Sources, window: Window) -> None:
        """Forget old changes of sources, from before which nothing is under way any more, and marks that are no longer needed."""
        settled = first_id_at(now_ms() - SETTLED_AFTER_MS)
        if 0 < sources.oldest_change < settled:
            await self._store.settle(viewer_id, settled)
        if pushed := _pushed_long_ago(sources.marks, window.floor, self._turns):
            await self._store.unmark_pulled(viewer_id, pushed)


def _pushed_long_ago(marks: Mapping[int, int], floor: int, turns: Turns) -> dict[int, int]:
    """Give the marked authors who have turned back to push so long ago that what had to be pulled lies below a timeline's floor."""
    found = {}
    for author_id in marks:
        turned = turns.known.get(author_id)
        if turned and turned.pushed and floor > first_id_at(turned.turned_ms + SETTLED_AFTER_MS):
            found[author_id] = turned.turn
    return found
