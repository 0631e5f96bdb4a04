"""Reading a home feed: the timeline merged with pulled authors, then further down, until the page is full or all is shown."""

import time
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Self

import structlog

from meshkit.errors import UnavailableError
from timeline_svc.home_timelines import HomeTimelines
from timeline_svc.older import OlderPosts
from timeline_svc.packed import Window
from timeline_svc.ports import STORE_AWAY, Graph, HomeWindow
from timeline_svc.post_cache import PostCache
from timeline_svc.pull import Puller, Recent
from timeline_svc.pulled import PulledAuthors

_SPARE = 15
# A reader who comes so near to the end of a timeline will soon want what lies below.
_NEAR = 400
# So many pulled authors are read further down in the tables for each page; more, for many pages at once.
_FEW = 20
# Who left a feed is out of it within a second.
_FRESH_SECONDS = 0.5
_LOOKS = 3
# A page in which much is left out is filled up in few steps.
_MOST_CANDIDATES = 400

_log = structlog.get_logger(__name__)


class FeedPage(NamedTuple):
    """Framed items, newest first, and the post id after which to go on; None at the end."""

    items: list[bytes]
    last: int | None


class _Candidates(NamedTuple):
    """Post ids, newest first, that may be shown; whether there are none beyond them; and as of when authors were in the feed.

    `down_to` is the last id that was looked at, unless all were.
    """

    post_ids: Sequence[int]
    exhausted: bool
    known_at: float
    down_to: int


class _Stretch(NamedTuple):
    """Post ids, newest first, that are all there is down to the floor, or more than a page."""

    post_ids: list[int]
    floor: int

    def reach(self, need: int) -> int:
        """Tell down to which id a page of `need` posts reaches."""
        return self.post_ids[need - 1] if len(self.post_ids) >= need else self.floor

    def with_pulled(self, recent: Mapping[int, Recent], before: int | None, need: int) -> Self:
        """Merge in pulled authors' posts, as far down as a page of `need` posts or the stretch goes."""
        down_to = self.reach(need)
        some = [posts for posts in recent.values() if posts.newest >= down_to]
        if before is None and len(some) >= need:
            # So many authors' newest posts fill the page: what is older than all of these is not on it.
            down_to = sorted(posts.newest for posts in some)[-need]
            some = [posts for posts in some if posts.newest >= down_to]
        found: set[int] = set()
        for posts in some:
            end = len(posts.post_ids) if before is None else bisect_left(posts.post_ids, before)
            found.update(posts.post_ids[bisect_left(posts.post_ids, down_to, 0, end) : end])
        return self._replace(post_ids=sorted(found.union(self.post_ids), reverse=True)) if found else self

    def cut(self, floor: int) -> Self:
        """Leave out what is below an id."""
        return self._replace(post_ids=[post_id for post_id in self.post_ids if post_id >= floor], floor=floor)


class HomeFeed:
    """Reads home feeds."""

    def __init__(
        self,
        timelines: HomeTimelines,
        older: OlderPosts,
        pulled: PulledAuthors,
        puller: Puller,
        graph: Graph,
        cache: PostCache,
    ) -> None:
        self._timelines = timelines
        self._older = older
        self._pulled = pulled
        self._puller = puller
        self._graph = graph
        self._cache = cache

    async def page(self, viewer_id: int, size: int, before: int | None) -> FeedPage:
        """Give a page of the viewer's feed below an id. It is only short at the end, whatever is left out of it.

        Raises UnavailableError when what is needed does not answer.
        """
        page, known_at = await self._page(viewer_id, size, before)
        if time.monotonic() - known_at > _FRESH_SECONDS:
            # What was slow is at hand now: another look, so that nobody is shown who left meanwhile.
            page, _ = await self._page(viewer_id, size, before)
        return page

    async def _page(self, viewer_id: int, size: int, before: int | None) -> tuple[FeedPage, float]:
        """Put a page together, and tell as of when."""
        shown: dict[int, bytes] = {}
        known_at = float("inf")
        # One more than asked for tells whether there is a next page.
        need = size + 1
        while len(shown) <= size:
            candidates = await self._candidates(viewer_id, before, need)
            known_at = min(known_at, candidates.known_at)
            shown |= await self._cache.items(candidates.post_ids)
            if candidates.exhausted:
                break
            before, need = candidates.down_to, min(2 * need, _MOST_CANDIDATES)
        last = list(shown)[size - 1] if len(shown) > size else None
        return FeedPage(list(shown.values())[:size], last), known_at

    async def _candidates(self, viewer_id: int, before: int | None, need: int) -> _Candidates:
        """Give at least `need` candidates below an id, or all that are left."""
        try:
            home, found, known_at = await self._read(viewer_id, before, need)
            if home.window and len(found.post_ids) >= need:
                if found.floor and before is not None and len(found.post_ids) < need + _NEAR:
                    self._older.look_ahead(viewer_id, home.sources.stamp, found.floor, home.segment)
                return _Candidates(found.post_ids[:need], exhausted=False, known_at=known_at, down_to=found.post_ids[need - 1])
            if home.window:
                ids, exhausted = await self._and_older(viewer_id, home, found, before, need)
                return _Candidates(ids, exhausted, known_at, ids[-1] if ids else 0)
        except UnavailableError as error:
            if error.reason != STORE_AWAY:
                raise
            _log.debug("timelines are away: pulling", viewer_id=viewer_id)
        return await self._from_tables(viewer_id, before, need)

    async def _read(self, viewer_id: int, before: int | None, need: int) -> tuple[HomeWindow, _Stretch, float]:
        """Read the timeline and what is merged into it; again if that took so long that authors may have left meanwhile.

        Tell when the last reading began.
        """
        for _ in range(_LOOKS):
            began = time.monotonic()
            # The tail is enough for the first page as a rule; further down all of the timeline is read.
            home = await self._timelines.read(viewer_id, need + _SPARE if before is None else None)
            found = await self._in_timeline(home, before, need)
            if home.window and len(found.post_ids) < need and not home.window.whole:
                home = await self._timelines.read(viewer_id, None)
                found = await self._in_timeline(home, before, need)
            if time.monotonic() - began < _FRESH_SECONDS:
                break
        return home, found, began

    async def _in_timeline(self, home: HomeWindow, before: int | None, need: int) -> _Stretch:
        """Give what the timeline, merged with pulled authors, has below an id: all, or at least `need`."""
        window, hidden = home.window, home.sources.hidden
        if window is None or (before is not None and before <= window.floor):
            return _Stretch([], window.floor if window else 0)
        stretch = _Stretch(_visible(window, hidden, before), window.complete_from)
        authors = home.sources.marks.keys() - hidden
        return await self._with_pulled(stretch, authors, before, need) if authors else stretch

    async def _with_pulled(self, stretch: _Stretch, authors: Collection[int], before: int | None, need: int) -> _Stretch:
        recent = await self._pulled.recent(authors)
        merged = stretch.with_pulled(recent, before, need)
        reached = merged.reach(need)
        short = [author_id for author_id, posts in recent.items() if posts.floor > reached]
        if len(short) > _FEW:
            return merged.cut(max(recent[author_id].floor for author_id in short))
        if short:
            recent |= await self._puller.from_tables(short, before=before, limit=need)
            return stretch.with_pulled(recent, before, need)
        return merged

    async def _and_older(
        self, viewer_id: int, home: HomeWindow, found: _Stretch, before: int | None, need: int
    ) -> tuple[list[int], bool]:
        """Go on below the timeline, which has not enough; tell whether that is all."""
        ids = found.post_ids
        if found.floor == 0:
            return ids, True
        below = found.floor if before is None else min(before, found.floor)
        more = await self._older.page(viewer_id, home, below, need - len(ids))
        return [*ids, *more], len(more) < need - len(ids)

    async def _from_tables(self, viewer_id: int, before: int | None, need: int) -> _Candidates:
        known_at = time.monotonic()
        authors = [*await self._graph.followees(viewer_id), viewer_id]
        entries = await self._puller.newest(authors, before=before, need=need, from_tables=True)
        if (now := time.monotonic()) - known_at > _FRESH_SECONDS:
            known_at, authors = now, [*await self._graph.followees(viewer_id), viewer_id]
        still = set(authors)
        ids = [entry.post_id for entry in entries if entry.author_id in still]
        return _Candidates(ids, len(entries) < need, known_at, entries[-1].post_id if entries else 0)


def _visible(window: Window, hidden: Collection[int], before: int | None) -> list[int]:
    """Give a window's post ids, newest first, without those of hidden authors."""
    if before is None and not hidden:
        return list(reversed(window.post_ids))
    pairs = zip(reversed(window.post_ids), reversed(window.author_ids), strict=True)
    return [post_id for post_id, author_id in pairs if (before is None or post_id < before) and author_id not in hidden]
