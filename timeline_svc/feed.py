"""Reading a home feed: from the viewer's packed timeline, then by pull, until the page is full or everything is shown."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from meshkit.clock import now_ms
from meshkit.errors import UnavailableError
from meshkit.ids import first_id_at
from meshkit.single_flight import SingleFlight
from timeline_svc.packed import State, Window
from timeline_svc.ports import STORE_AWAY, HomeWindow, TimelineStore
from timeline_svc.post_cache import PostCache
from timeline_svc.pull import Puller

REBUILT_ENTRIES = 800
# Longer than anything that was sent before a follow change can still be under way.
SETTLED_AFTER_MS = 3_600_000
_REBUILDS = 3
_SPARE = 15

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Framed items, newest first, and the post id after which to go on; None at the end."""

    items: list[bytes]
    last: int | None


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Post ids, newest first, that may be shown; and whether there are none beyond them."""

    post_ids: Sequence[int]
    exhausted: bool


class HomeFeed:
    """Reads home feeds."""

    def __init__(self, store: TimelineStore, puller: Puller, cache: PostCache, rebuilds: SingleFlight[int, None]) -> None:
        self._store = store
        self._puller = puller
        self._cache = cache
        self._rebuilds = rebuilds

    async def page(self, viewer_id: int, size: int, before: int | None) -> FeedPage:
        """Give a page of the viewer's feed below an id. It is only short at the end, whatever is left out of it.

        Raises UnavailableError when what is needed does not answer.
        """
        shown: list[tuple[int, bytes]] = []
        # One more than asked for tells whether there is a next page.
        while len(shown) <= size:
            candidates = await self._candidates(viewer_id, before, size + 1 - len(shown))
            items = await self._cache.items(candidates.post_ids)
            shown += [(post_id, items[post_id]) for post_id in candidates.post_ids if post_id in items]
            if candidates.exhausted:
                break
            before = candidates.post_ids[-1]
        last = shown[size - 1][0] if len(shown) > size else None
        return FeedPage([item for _, item in shown[:size]], last)

    async def _candidates(self, viewer_id: int, before: int | None, need: int) -> _Candidates:
        """Give at least `need` candidates below an id, or all that are left."""
        try:
            home = await self._read(viewer_id, before, need)
        except UnavailableError as error:
            if error.reason != STORE_AWAY:
                raise
            _log.debug("timelines are away: pulling", viewer_id=viewer_id)
            return await self._pulled(viewer_id, [], before, need, from_tables=True)
        window = home.window
        if window is None or window.state is not State.READY:
            return await self._pulled(viewer_id, [], before, need)
        ids = _visible(window, home.hidden, before)
        if len(ids) >= need or window.floor == 0:
            return _Candidates(ids[:need], exhausted=len(ids) <= need and window.floor == 0 and window.whole)
        below = window.floor if before is None else min(before, window.floor)
        return await self._pulled(viewer_id, ids, below, need - len(ids))

    async def _pulled(
        self, viewer_id: int, ids: list[int], before: int | None, need: int, *, from_tables: bool = False
    ) -> _Candidates:
        entries = await self._puller.newest(viewer_id, before=before, need=need, from_tables=from_tables)
        return _Candidates([*ids, *(entry.post_id for entry in entries)], exhausted=len(entries) < need)

    async def _read(self, viewer_id: int, before: int | None, need: int) -> HomeWindow:
        """Read as much of the timeline as is needed: its tail for the first page, all of it further down; rebuild a missing one."""
        newest = need + _SPARE if before is None else None
        home = await self._store.read_home(viewer_id, newest)
        for _ in range(_REBUILDS):
            if home.window and home.window.state is State.READY:
                break
            for task in self._rebuilds.start([viewer_id], self._rebuild):
                await asyncio.shield(task)
            home = await self._store.read_home(viewer_id, newest)
        if home.window and not home.window.whole and len(_visible(home.window, home.hidden, before)) < need:
            home = await self._store.read_home(viewer_id, None)
        await self._settle(viewer_id, home)
        return home

    async def _rebuild(self, viewer_ids: list[int]) -> None:
        (viewer_id,) = viewer_ids
        # First it takes pushes, then the past is pulled and merged in: what is published meanwhile comes by one way or both.
        generation = await self._store.begin_home(viewer_id)
        entries = await self._puller.newest(viewer_id, before=None, need=REBUILT_ENTRIES)
        floor = entries[-1].post_id if len(entries) == REBUILT_ENTRIES else 0
        await self._store.complete_home(viewer_id, generation, entries[::-1], floor)

    async def _settle(self, viewer_id: int, home: HomeWindow) -> None:
        if home.oldest_change:
            settled = first_id_at(now_ms() - SETTLED_AFTER_MS)
            if home.oldest_change < settled:
                await self._store.settle(viewer_id, settled)


def _visible(window: Window, hidden: frozenset[int], before: int | None) -> list[int]:
    """Give a window's post ids, newest first, without those of hidden authors."""
    pairs = zip(reversed(window.post_ids), reversed(window.author_ids), strict=True)
    return [post_id for post_id, author_id in pairs if (before is None or post_id < before) and author_id not in hidden]
