"""Users, follows, and the order in which an account's followers are kept."""

from dataclasses import dataclass
from typing import Self

from meshkit.buckets import bucket_of
from meshkit.errors import InvalidArgumentError
from meshkit.ids import id_bytes, id_from


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user says about themselves."""

    username: str
    display_name: str = ""
    bio: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """An account. Its id tells when it was made."""

    user_id: int
    profile: Profile
    follower_count: int = 0
    following_count: int = 0


@dataclass(frozen=True, slots=True)
class Follow:
    """An edge. Its version is a time-ordered id, and so tells since when it holds."""

    follower_id: int
    followee_id: int
    version: int


@dataclass(frozen=True, slots=True)
class FollowChanged:
    """An edge came (`following`) or went."""

    follow: Follow
    following: bool


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


@dataclass(frozen=True, slots=True)
class FollowerRange:
    """A half-open part of an account's followers; None is an open end."""

    start: FollowerPosition | None = None
    end: FollowerPosition | None = None


def check_not_self(follower_id: int, followee_id: int) -> None:
    """Refuse an edge from a user to the same user."""
    if follower_id == followee_id:
        problem = "is yourself: one cannot follow oneself"
        raise InvalidArgumentError(f"followee_id {problem}", reason="SELF_FOLLOW", fields={"followee_id": problem})
