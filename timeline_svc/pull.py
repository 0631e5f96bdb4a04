"""Reading by pull: the newest posts of many authors merged, from memory and, where that ends, from the tables."""

from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from meshkit.errors import UnavailableError
from meshkit.ids import MAX_ID
from timeline_svc.packed import Entry
from timeline_svc.ports import Posts, TimelineStore

RECENT_POSTS = 100
_AUTHORS_PER_CALL = 500
_POSTS_PER_CALL = 1_000
_FEWEST_POSTS = 20
_DEEPER = 4
# How many times the entries wanted are looked at first.
_SAMPLES = 2

Result = TypeVar("Result")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recent:
    """An author's newest posts, ascending, complete from the floor on; `newest` is the last of them, 0 if there is none."""

    post_ids: Sequence[int]
    floor: int
    newest: int = field(init=False)

    def __post_init__(self) -> None:
        # Readers of pulled authors look at this one of each, and at the others of few.
        object.__setattr__(self, "newest", self.post_ids[-1] if self.post_ids else 0)


class Puller:
    """Merges what authors posted."""

    def __init__(self, store: TimelineStore, posts: Posts) -> None:
        self._store = store
        self._posts = posts

    async def newest(self, author_ids: Sequence[int], *, before: int | None, need: int, from_tables: bool = False) -> list[Entry]:
        """Give the newest `need` (at least 1) entries of authors below an id, newest first; fewer only at the very end.

        `from_tables` passes the store by, which is known to be away.

        Raises UnavailableError when the posts do not answer.
        """
        if from_tables:
            recent = dict.fromkeys(author_ids, Recent((), MAX_ID))
        else:
            recent = await self.recent(author_ids)
        return await self._merged(recent, before, need)

    async def _merged(self, recent: dict[int, Recent], before: int | None, need: int) -> list[Entry]:
        """Merge, and read those authors further down in the tables of whom the answer may lack a post, until there are none.

        An author whose known posts end above the last entry of the answer may have more that belong in it. At first a few posts of
        each such author are read, then more of those who still are such: most are not read deep, however many there are.
        """
        limit = _FEWEST_POSTS
        while True:
            merged = _merge(recent, before or MAX_ID + 1, need)
            last = merged[-1].post_id if len(merged) == need else 0
            deeper = [author for author, posts in recent.items() if posts.floor > last]
            if not deeper:
                return merged
            limit = min(need, max(limit, 2 * need // len(deeper)))
            recent |= await self.from_tables(deeper, before=before, limit=limit)
            limit *= _DEEPER

    async def recent(self, author_ids: Sequence[int]) -> dict[int, Recent]:
        """Give authors' recent posts; what memory lacks is read from the tables, and put into memory for the next reader."""
        recent: dict[int, Recent] = {}
        for start in range(0, len(author_ids), _AUTHORS_PER_CALL):
            recent |= await self._some_recent(author_ids[start : start + _AUTHORS_PER_CALL])
        return recent

    async def _some_recent(self, author_ids: Sequence[int]) -> dict[int, Recent]:
        windows = await _or_none(self._store.read_authors(author_ids)) or {}
        recent = {author: Recent(window.post_ids, window.floor) for author, window in windows.items()}
        missing = [author for author in author_ids if author not in recent]
        return recent | await self._rebuild(missing) if missing else recent

    async def _rebuild(self, author_ids: Sequence[int]) -> dict[int, Recent]:
        # In this order a post that is published meanwhile is either pushed into what was begun, or read from the tables.
        begun = await _or_none(self._store.begin_authors(author_ids))
        recent = await self.from_tables(author_ids, before=None, limit=RECENT_POSTS)
        newest_first = {author: tuple(reversed(recent[author].post_ids)) for author in author_ids}
        if begun:
            await _or_none(self._store.complete_authors(begun, newest_first, complete_below=RECENT_POSTS))
        return recent

    async def since(self, author_id: int, floor: int, *, limit: int) -> Recent:
        """Give an author's recent posts, at least down to the floor if `limit` posts reach that far."""
        recent = (await self.recent([author_id]))[author_id]
        return recent if recent.floor <= floor else (await self.from_tables([author_id], before=None, limit=limit))[author_id]

    async def from_tables(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> dict[int, Recent]:
        """Give each author's newest `limit` posts below an id. Raises UnavailableError."""
        recent: dict[int, Recent] = {}
        for start in range(0, len(author_ids), _AUTHORS_PER_CALL):
            part = author_ids[start : start + _AUTHORS_PER_CALL]
            for author, ids in (await self._posts.by_authors(part, before=before, limit=min(limit, _POSTS_PER_CALL))).items():
                all_ids = [*ids, *await self._further(author, ids, limit)] if len(ids) == _POSTS_PER_CALL < limit else ids
                recent[author] = Recent(array("Q", reversed(all_ids)), 0 if len(all_ids) < limit else all_ids[-1])
        return recent

    async def _further(self, author_id: int, ids: Sequence[int], limit: int) -> list[int]:
        """Go on after an author's first thousand posts."""
        further: list[int] = []
        while len(ids) == _POSTS_PER_CALL and len(further) + _POSTS_PER_CALL < limit:
            ids = (await self._posts.by_authors([author_id], before=ids[-1], limit=_POSTS_PER_CALL))[author_id]
            further += ids
        return further[: limit - _POSTS_PER_CALL]


async def _or_none(of_store: Awaitable[Result]) -> Result | None:
    """Go on without the store where it is away: the tables know everything."""
    try:
        return await of_store
    except UnavailableError:
        _log.debug("timelines are away: reading from the tables")
        return None


def _merge(recent: Mapping[int, Recent], before: int, need: int) -> list[Entry]:
    lowest = _lower_bound(recent, before, need)
    author_of: dict[int, int] = {}
    for author, posts in recent.items():
        ids = posts.post_ids
        if posts.newest >= lowest:
            author_of |= dict.fromkeys(ids[bisect_left(ids, lowest) : bisect_left(ids, before)], author)
    return [Entry(post_id, author_of[post_id]) for post_id in sorted(author_of, reverse=True)[:need]]


def _lower_bound(recent: Mapping[int, Recent], before: int, need: int) -> int:
    """Give an id below which none of the newest `need` can be: so many of each author's newest posts alone are above it.

    Most authors' posts need not be looked at then.
    """
    few = _SAMPLES * need // len(recent) + 1
    sample: list[int] = []
    for posts in recent.values():
        end = bisect_left(posts.post_ids, before)
        sample += posts.post_ids[max(0, end - few) : end]
    return sorted(sample)[-need] if len(sample) >= need else 0
