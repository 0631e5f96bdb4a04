"""What the timeline service needs from others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from timeline_svc.packed import Entry, Window
from timeline_svc.segment import Segment
from timeline_svc.sources import Sources


class HomeWindow(NamedTuple):
    """What one read of a viewer's timeline brings: its newest part, what stands beside it, and maybe a segment below it.

    Without the record beside it there is no window.
    """

    window: Window | None
    sources: Sources
    segment: Segment | None = None


STORE_AWAY = "TIMELINES_UNAVAILABLE"


class TimelineStore(Protocol):
    """Timelines and authors' recent posts, in memory that may be lost at any time.

    Every method raises `meshkit.errors.UnavailableError`, reason STORE_AWAY, when what it needs of the store does not answer in
    time. A change may have been made then, in part or wholly: it may be made again.
    """

    async def read_home(self, user_id: int, newest: int | None) -> HomeWindow:
        """Read the newest entries of a home timeline, or all of it and the segment below (None), in one round trip."""

    async def push_home(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist; once, and in order. Give how many hold it."""

    async def begin_home(self, user_id: int) -> bytes:
        """Make an empty home timeline that takes pushes and is not ready, if there is none; give its generation."""

    async def complete_home(
        self,
        user_id: int,
        generation: bytes,
        entries: Sequence[Entry],
        floor: int,
        *,
        marks: Mapping[int, int],
        left: Mapping[int, int],
        back: Mapping[int, int] | None = None,
    ) -> bool:
        """Merge entries (ascending, complete from `floor` on) into the timeline that was begun, and make it ready.

        `marks` are authors to be pulled, with their turns; `left` are authors who left the feed lately, `back` those who came
        back, with that change's version: older changes that arrive late have no effect.
        False if the timeline is no longer there, even if another one is: that may lack what was published in between.
        """

    async def add_home(self, user_id: int, entries: Sequence[Entry], floor: int) -> bool:
        """Merge some more entries (ascending, complete from `floor` on) into a home timeline; False if there is none."""

    async def note_source(self, user_id: int, author_id: int, version: int, *, came: bool, turn: int = 0) -> int | None:
        """Note that an author's posts came into a feed or went; the entries of one who went go, and stay hidden.

        An author who came with a turn is marked as pulled. Give the floor of the timeline; None if there is no timeline, or a newer
        change of the same author is noted.
        """

    async def settle(self, user_id: int, before_version: int) -> None:
        """Forget changes of sources older than a version."""

    async def mark_pulled(self, author_id: int, turn: int, user_ids: Sequence[int]) -> int:
        """Mark an author as pulled in the timelines that exist. Give how many are marked."""

    async def unmark_pulled(self, user_id: int, marks: Mapping[int, int]) -> None:
        """Take marks away that are not of a later turn than the one given for each author."""

    async def keep_segment(self, user_id: int, segment: Segment) -> None:
        """Keep a segment for the next pages, in the place of an earlier one."""

    async def read_authors(self, author_ids: Sequence[int]) -> dict[int, Window]:
        """Read authors' recent posts; those that are missing, not ready, or in a part of the store that is away, are left out."""

    async def push_own(self, entries: Sequence[Entry]) -> list[int]:
        """Put entries among their authors' recent posts and into the authors' own timelines, where those exist.

        Give the places of entries for which a part of the store is away; they may have been done by half. Unavailable only when
        that are all.
        """

    async def begin_authors(self, author_ids: Sequence[int]) -> dict[int, bytes]:
        """Make authors' recent posts that are empty, take pushes, and are not ready, where there are none; give the generations.

        Authors in a part of the store that is away are left out.
        """

    async def complete_authors(
        self, begun: Mapping[int, bytes], posts: Mapping[int, Sequence[int]], *, complete_below: int
    ) -> None:
        """Merge the newest post ids (descending) of each author that was begun, and make them ready.

        Fewer than `complete_below` ids are all that the author has.
        """


@dataclass(frozen=True, slots=True)
class Relation:
    """How a viewer stands to an author.

    `edge_version` is the time-ordered id of the last change that took the author's posts into the viewer's feed or out of it.
    """

    can_view: bool
    in_feed: bool
    following: bool
    edge_version: int
    requested: bool
    muted: bool
    blocking: bool
    blocked: bool


class Graph(Protocol):
    """The follow graph. Methods raise `UnavailableError` when it does not answer."""

    async def followees(self, user_id: int) -> list[int]:
        """Give everybody whose posts belong in a user's feed now."""

    async def left(self, user_id: int) -> dict[int, int]:
        """Give authors who left a user's feed within the last two hours, some of whom may be back, with the change's version."""

    async def is_followee(self, user_id: int, author_id: int) -> bool:
        """Tell whether an author's posts belong in a user's feed now."""

    async def relation(self, viewer_id: int, author_id: int) -> Relation:
        """Tell how a viewer stands to an author now."""


@dataclass(frozen=True, slots=True)
class PostCopy:
    """A post as the contract encodes it, and its version."""

    version: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class PostFacts:
    """What a post is to feeds; `delivery` is the contract's number."""

    author_id: int
    delivery: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Turned:
    """An author who turned between push and pull, last at this turn."""

    author_id: int
    turn: int
    turned_ms: int
    pushed: bool


class Posts(Protocol):
    """The posts. Methods raise `UnavailableError` when they do not answer."""

    async def lookup(self, post_ids: Sequence[int]) -> dict[int, PostCopy]:
        """Give those of the posts that exist now."""

    async def by_authors(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> dict[int, Sequence[int]]:
        """Give each author's newest post ids below an id, newest first; `limit` is at most 1,000."""

    async def describe(self, post_id: int) -> PostFacts | None:
        """Tell what a post is to feeds, deleted or not; None if there never was one."""

    async def turned(self, after_turn: int) -> list[Turned]:
        """Give the authors whose last turn came after one, in the order of their turns."""
