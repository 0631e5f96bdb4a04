"""What a picture or a video is on its way from being announced to being shown."""

import hmac
import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self

from meshkit.errors import NotFoundError, invalid_field
from meshkit.media.port import PUBLISHED, UPLOADS, Stored
from meshkit.media.types import BY_CONTENT_TYPE

_SECRET_LENGTH = 32  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class Media:
    """An announced or published file. The secret of a published one is in its URL: who knows one URL cannot guess another."""

    media_id: int
    user_id: int
    expected: Stored
    secret: str
    ready: bool = False

    @classmethod
    def new(cls, media_id: int, user_id: int, expected: Stored) -> Self:
        """Make media as it is announced."""
        return cls(media_id, user_id, expected, secrets.token_hex(_SECRET_LENGTH // 2))

    def published(self, version: str) -> Self:
        """Give the media as it is once this version of its upload is published: under a key that no other version has."""
        secret = hmac.new(self.secret.encode(), version.encode(), sha256).hexdigest()[:_SECRET_LENGTH]
        return replace(self, secret=secret, ready=True)

    @property
    def upload_key(self) -> str:
        """Where it is uploaded to."""
        return f"{UPLOADS}{self.user_id}/{self.media_id}.{self._extension}"

    @property
    def key(self) -> str:
        """Where it is published, once it is."""
        return f"{PUBLISHED}{self.user_id}/{self.media_id}-{self.secret}.{self._extension}"

    @property
    def _extension(self) -> str:
        return BY_CONTENT_TYPE[self.expected.content_type].extension


def require_taken(expected: Stored) -> None:
    """Refuse a type that is not taken, and a size outside its limits. Raises InvalidArgumentError."""
    media_type = BY_CONTENT_TYPE.get(expected.content_type)
    if media_type is None:
        raise invalid_field("content_type", f"must be one of: {', '.join(BY_CONTENT_TYPE)}")
    if not 1 <= expected.size <= media_type.max_bytes:
        raise invalid_field("size_bytes", f"must be 1 to {media_type.max_bytes:,} for {media_type.content_type}")


def media_not_found() -> NotFoundError:
    """Say that media does not exist, or is another's: who asks does not learn which."""
    return NotFoundError("media_id: you have no such media", reason="MEDIA_NOT_FOUND", fields={"media_id": "is not media of yours"})
