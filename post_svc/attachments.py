"""The media that posts carry: authors name it by its URL, posts keep its key, so that the URLs' beginning may change."""

import re
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urljoin

from meshkit.errors import invalid_field
from meshkit.ids import MAX_ID
from meshkit.media.port import type_of
from meshkit.media.types import Kind
from post_svc.media import Media
from post_svc.media_rows import MediaRepository

_KEY = re.compile(r"media/[0-9]{1,20}/([0-9]{1,20})-[0-9a-f]{32}\.[a-z0-9]{2,4}", re.ASCII)


class Attachments:
    """Turns media URLs into keys, and back. `public_url` is where media is read, without a slash at the end."""

    def __init__(self, media: MediaRepository, public_url: str) -> None:
        self._media = media
        self._base = f"{public_url}/"

    def url(self, key: str) -> str:
        """Give the URL of a key. What is an absolute URL already, as posts once kept them, stays so."""
        return urljoin(self._base, key)

    async def keys(self, user_id: int, urls: Sequence[str], field: str, *, kept: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Give the keys of media that a user's post may carry. `kept` is what it carries: that may stay as it is.

        A row is looked at, and not checked again in the write of the post: once ready it does not change.

        Raises:
            InvalidArgumentError: a URL is not of a finished upload of the user's, or they do not go together.

        """
        if [self.url(key) for key in kept] == list(urls):
            return kept
        named = [self._named(url) for url in urls]
        found = await self._media.get_many(user_id, {media_id for media_id, _ in named if media_id})
        for index, (media_id, key) in enumerate(named):
            _require(field, index, found.get(media_id), key)
        keys = tuple(key for _, key in named)
        _require_together(field, keys)
        return keys

    def _named(self, url: str) -> tuple[int, str]:
        """Tell which media a URL names, and its key; 0 if none."""
        key = url.removeprefix(self._base) if url.startswith(self._base) else ""
        match = _KEY.fullmatch(key)
        return (int(match[1]), key) if match and int(match[1]) <= MAX_ID else (0, "")


def _require(field: str, index: int, media: Media | None, key: str) -> None:
    """Refuse what is not there, not finished, and another's, all in the same words: nobody learns of others' media."""
    if media is None or not media.ready or media.key != key:
        way = "create it with POST /v1/media, upload it, complete it, and take the media_url of the answer"
        raise invalid_field(field, f"element {index} is not the media_url of a finished upload of yours: {way}")


def _require_together(field: str, keys: Sequence[str]) -> None:
    for index, key in enumerate(keys):
        if Counter(keys[:index])[key]:
            raise invalid_field(field, f"element {index} is there already: name each once")
    videos = sum(type_of(key).kind is Kind.VIDEO for key in keys)
    if videos and len(keys) > 1:
        raise invalid_field(field, "must hold up to 10 pictures, or one video and nothing else")
