"""What a post is, and what may be done to it."""

from dataclasses import dataclass, replace
from typing import Self

from meshkit.errors import NotFoundError, PermissionDeniedError
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


@dataclass(frozen=True, slots=True)
class Post:
    """A post. Its id tells when it was made. A deleted one stays as a tombstone: without its draft, with a higher version."""

    post_id: int
    author_id: int
    draft: Draft
    version: int
    updated_ms: int
    deleted: bool = False

    @classmethod
    def new(cls, post_id: int, author_id: int, draft: Draft) -> Self:
        """Make a post as it is first published."""
        return cls(post_id, author_id, draft, version=1, updated_ms=time_ms_of(post_id))

    def edited(self, draft: Draft, now_ms: int) -> Self:
        """Give the post with another draft."""
        return replace(self, draft=draft, version=self.version + 1, updated_ms=now_ms)

    def tombstone(self, now_ms: int) -> Self:
        """Give what is left of the post after its deletion."""
        return replace(self, draft=Draft(""), version=self.version + 1, updated_ms=now_ms, deleted=True)

    def require_author(self, user_id: int) -> None:
        """Refuse everybody but the author."""
        if self.author_id != user_id:
            raise PermissionDeniedError("this is another user's post", reason="NOT_THE_AUTHOR")


@dataclass(frozen=True, slots=True)
class PostCreated:
    """A post was made."""

    post_id: int
    author_id: int


@dataclass(frozen=True, slots=True)
class PostChanged:
    """A post was edited or deleted; older versions are stale."""

    post_id: int
    version: int


PostEvent = PostCreated | PostChanged


def post_not_found(field: str = "post_id") -> NotFoundError:
    """Say that a post does not exist, or no longer."""
    return NotFoundError(f"{field}: there is no such post", reason="POST_NOT_FOUND", fields={field: "is not a post"})
