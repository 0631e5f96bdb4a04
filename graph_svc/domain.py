"""Users, how one stands to another, and the order in which an account's followers are kept."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

from meshkit.buckets import bucket_of
from meshkit.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from meshkit.ids import id_bytes, id_from


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user says about themselves, and whether only followers may see what they post."""

    username: str
    display_name: str = ""
    bio: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """An account. Its id tells when it was made."""

    user_id: int
    profile: Profile
    follower_count: int = 0
    following_count: int = 0


@dataclass(frozen=True, slots=True)
class Tie:
    """What ties a viewer to an author. Ids are time-ordered, so they also tell since when; 0 is none.

    `version` is the id of the last change that took the author's posts into the viewer's feed or out of it, whatever stands now. It
    grows with every such change, also when the clock goes back.
    """

    follow_id: int = 0
    request_id: int = 0
    muted: bool = False
    version: int = 0

    @property
    def in_feed(self) -> bool:
        """Whether the author's posts belong in the viewer's feed."""
        return bool(self.follow_id) and not self.muted

    @property
    def stands(self) -> bool:
        """Whether anything ties the two now."""
        return bool(self.follow_id or self.request_id or self.muted)

    def followed(self, now: int) -> Self:
        """Begin an edge, which answers a request."""
        version = max(now, self.version + 1)
        return replace(self, follow_id=version, request_id=0, version=version)

    def requested(self, now: int) -> Self:
        """Ask to follow."""
        return replace(self, request_id=now)

    def cut(self, now: int) -> Self:
        """End the edge and the request, whichever there is."""
        ended = max(now, self.version + 1) if self.follow_id else self.version
        return replace(self, follow_id=0, request_id=0, version=ended)

    def refused(self) -> Self:
        """End the request only."""
        return replace(self, request_id=0)

    def with_mute(self, now: int, *, muted: bool) -> Self:
        """Begin or end a mute."""
        changed = max(now, self.version + 1) if self.follow_id else self.version
        return replace(self, muted=muted, version=changed)


@dataclass(frozen=True, slots=True)
class Relation:
    """How a viewer stands to an author: all that decides what the viewer may see, and sees."""

    viewer_id: int
    author_id: int
    tie: Tie = Tie()
    blocking: bool = False
    blocked: bool = False
    author_private: bool = False

    @property
    def is_self(self) -> bool:
        """Whether the two are one."""
        return self.viewer_id == self.author_id


def can_view(relation: Relation) -> bool:
    """Tell whether the viewer may see the author's posts, and whom the author follows and who follows the author."""
    if relation.is_self:
        return True
    if relation.blocking or relation.blocked:
        return False
    return not relation.author_private or bool(relation.tie.follow_id)


def in_feed(relation: Relation) -> bool:
    """Tell whether the author's posts belong in the viewer's home feed."""
    return relation.is_self or (can_view(relation) and relation.tie.in_feed)


class FollowState(Enum):
    """Whether an edge holds, or waits to be approved."""

    ACTIVE = "active"
    REQUESTED = "requested"


@dataclass(frozen=True, slots=True)
class Follow:
    """An edge, or a request for one. Its id is time-ordered, and so tells since when."""

    follower_id: int
    followee_id: int
    follow_id: int
    state: FollowState = FollowState.ACTIVE


@dataclass(frozen=True, slots=True)
class FeedChanged:
    """An author's posts came into a viewer's feed, or went; of two changes between the same two the larger version holds."""

    viewer_id: int
    author_id: int
    version: int
    in_feed: bool


@dataclass(frozen=True, slots=True, order=True)
class FollowerPosition:
    """A place among an account's followers: they are ordered by bucket, then by id."""

    bucket: int
    user_id: int = 0

    @classmethod
    def of(cls, user_id: int) -> Self:
        """Give a follower's place."""
        return cls(bucket_of(user_id), user_id)

    @property
    def sort_key(self) -> bytes:
        """Ten bytes that order as the position does."""
        return self.bucket.to_bytes(2) + id_bytes(self.user_id)

    @classmethod
    def from_sort_key(cls, sort: bytes) -> Self:
        """Decode what `sort_key` made."""
        return cls(int.from_bytes(sort[:2]), id_from(sort[2:]))


def ids_at(sort_keys: Iterable[bytes]) -> list[int]:
    """Give the followers at positions; many thousands cost next to nothing."""
    return [user_id for (user_id,) in struct.iter_unpack(">2xQ", b"".join(sort_keys))]


@dataclass(frozen=True, slots=True)
class FollowerRange:
    """A half-open part of an account's followers; None is an open end."""

    start: FollowerPosition | None = None
    end: FollowerPosition | None = None


def user_not_found(field: str) -> NotFoundError:
    """Say that the account that a field names does not exist."""
    return NotFoundError(f"{field}: there is no such user", reason="USER_NOT_FOUND", fields={field: "is not a user"})


def check_not_self(user_id: int, other_id: int, field: str, doing: str) -> None:
    """Refuse to do to oneself what is for others; `doing` is FOLLOW, BLOCK or MUTE."""
    if user_id == other_id:
        problem = f"is yourself: one cannot {doing.lower()} oneself"
        raise InvalidArgumentError(f"{field} {problem}", reason=f"SELF_{doing}", fields={field: problem})


def check_can_view(relation: Relation) -> None:
    """Refuse to show an account's lists to who may not see its posts."""
    if not can_view(relation):
        raise PermissionDeniedError("this account shows its lists to others only", reason="NOT_VISIBLE")


def check_no_block(relation: Relation) -> None:
    """Refuse a follow where one of the two blocks the other, in words that do not tell which."""
    if relation.blocking or relation.blocked:
        raise PermissionDeniedError("this account cannot be followed", reason="FOLLOW_REFUSED")
