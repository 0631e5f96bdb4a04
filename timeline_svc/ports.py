"""What the timeline service needs from others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from timeline_svc.packed import Entry, Window


@dataclass(frozen=True, slots=True)
class HomeWindow:
    """What one read of a viewer's timeline brings: its newest part, if it exists, and the viewer's recent follow changes."""

    window: Window | None
    hidden: frozenset[int] = frozenset()
    oldest_change: int = 0


STORE_AWAY = "TIMELINES_UNAVAILABLE"


class TimelineStore(Protocol):
    """Timelines and authors' recent posts, in memory that may be lost at any time.

    Every method raises `meshkit.errors.UnavailableError`, reason STORE_AWAY, when what it needs of the store does not answer in
    time. A change may have been made then, in part or wholly: it may be made again.
    """

    async def read_home(self, user_id: int, newest: int | None) -> HomeWindow:
        """Read the newest entries of a home timeline (None: all), in one round trip."""

    async def push_home(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist; once, and in order. Give how many hold it."""

    async def begin_home(self, user_id: int) -> bytes:
        """Make an empty home timeline that takes pushes and is not ready, if there is none; give its generation."""

    async def complete_home(self, user_id: int, generation: bytes, entries: Sequence[Entry], floor: int) -> bool:
        """Merge entries (ascending, complete from `floor` on) into the timeline that was begun, and make it ready.

        False if it is no longer there, even if another one is: that may lack what was published in between.
        """

    async def add_home(self, user_id: int, entries: Sequence[Entry], floor: int) -> bool:
        """Merge some more entries (ascending, complete from `floor` on) into a home timeline; False if there is none."""

    async def note_follow(self, follower_id: int, followee_id: int, version: int, *, following: bool) -> int | None:
        """Note a follow or unfollow; an unfollowed author's entries go, and stay hidden.

        Give the floor of the follower's timeline; None if there is no timeline, or a newer change of the same edge is noted.
        """

    async def settle(self, user_id: int, before_version: int) -> None:
        """Forget follow changes older than a version."""

    async def read_authors(self, author_ids: Sequence[int]) -> dict[int, Window]:
        """Read authors' recent posts; those that are missing, not ready, or in a part of the store that is away, are left out."""

    async def push_author(self, entry: Entry) -> None:
        """Put an entry among its author's recent posts, if they exist."""

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


class Graph(Protocol):
    """The follow graph. Methods raise `UnavailableError` when it does not answer."""

    async def followees(self, user_id: int) -> list[int]:
        """Give everybody whom a user follows now."""

    async def is_following(self, follower_id: int, followee_id: int) -> bool:
        """Tell whether an edge is there now."""


@dataclass(frozen=True, slots=True)
class PostCopy:
    """A post as the contract encodes it, and its version."""

    version: int
    encoded: bytes


class Posts(Protocol):
    """The posts. Methods raise `UnavailableError` when they do not answer."""

    async def lookup(self, post_ids: Sequence[int]) -> dict[int, PostCopy]:
        """Give those of the posts that exist now."""

    async def by_authors(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> dict[int, Sequence[int]]:
        """Give each author's newest post ids below an id, newest first; `limit` is at most 1,000."""
