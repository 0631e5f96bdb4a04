"""What a post is, and what may be done to it."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

from meshkit.errors import NotFoundError
from meshkit.ids import time_ms_of


@dataclass(frozen=True, slots=True)
class Draft:
    """What an author writes. Of media it holds the keys, in the author's order."""

    content: str
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """What an author changes; None stays as it is."""

    content: str | None = None
    media_urls: tuple[str, ...] | None = None


class Delivery(IntEnum):
    """How a post gets into feeds, by the contract's numbers: pushed into timelines, pulled by who reads, or both."""

    PUSH = 1
    PULL = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class AuthorDelivery:
    """What an author's next posts get, and since which turn; turn 0 is that of who never turned. See docs/adr/0013."""

    author_id: int
    delivery: Delivery = Delivery.PUSH
    turn: int = 0
    turn_ms: int = 0
    forced: bool = False

    @property
    def pushed(self) -> bool:
        """Whether posts are pushed and nothing else; an author turns when this changes."""
        return self.delivery is Delivery.PUSH

    def decided(self, wish: Delivery | None, *, force: bool) -> Self:
        """Give what a wish for PUSH or PULL makes of it; None ends a force. Where an operator decides, nobody else does.

        PULL begins as BOTH: it may be believed only when all followers' timelines are marked. A wish for what is so already, or
        becoming so, is no turn.
        """
        if wish is None:
            return replace(self, forced=False)
        if self.forced and not force:
            return self
        if (wish is Delivery.PUSH) is self.pushed:
            return replace(self, forced=force)
        return replace(self, delivery=Delivery.PUSH if wish is Delivery.PUSH else Delivery.BOTH, forced=force)

    def finished(self, turn: int) -> Self:
        """Give what it is when all timelines are marked for a turn: PULL, unless it has turned again."""
        return replace(self, delivery=Delivery.PULL) if self.delivery is Delivery.BOTH and self.turn == turn else self


@dataclass(frozen=True, slots=True)
class Post:
    """A post. Its id tells when it was made. A deleted one stays as a tombstone: without its draft, with a higher version."""

    post_id: int
    author_id: int
    draft: Draft
    version: int
    updated_ms: int
    deleted: bool = False
    delivery: Delivery = Delivery.PUSH

    @classmethod
    def new(cls, post_id: int, author_id: int, draft: Draft, delivery: Delivery) -> Self:
        """Make a post as it is first published."""
        return cls(post_id, author_id, draft, version=1, updated_ms=time_ms_of(post_id), delivery=delivery)

    def edited(self, draft: Draft, now_ms: int) -> Self:
        """Give the post with another draft."""
        return replace(self, draft=draft, version=self.version + 1, updated_ms=now_ms)

    def tombstone(self, now_ms: int) -> Self:
        """Give what is left of the post after its deletion."""
        return replace(self, draft=Draft(""), version=self.version + 1, updated_ms=now_ms, deleted=True)


@dataclass(frozen=True, slots=True)
class PostCreated:
    """A post was made."""

    post_id: int
    author_id: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class PostChanged:
    """A post was edited or deleted; older versions are stale."""

    post_id: int
    version: int


@dataclass(frozen=True, slots=True)
class AuthorTurned:
    """An author turned to PULL: the followers' timelines are to be marked."""

    author_id: int
    turn: int


PostEvent = PostCreated | PostChanged | AuthorTurned


def post_not_found(field: str = "post_id") -> NotFoundError:
    """Say that a post does not exist, or no longer."""
    return NotFoundError(f"{field}: there is no such post", reason="POST_NOT_FOUND", fields={field: "is not a post"})
