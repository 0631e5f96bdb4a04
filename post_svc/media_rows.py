"""Where media is noted: a row for each, under its user."""

import time
from collections.abc import Iterable

import msgspec

from meshkit.ids import id_bytes, id_from
from meshkit.media.port import Stored
from meshkit.requests import LIFETIME_S
from meshkit.table.port import AtVersion, Existence, Item, Key, Put, Table
from post_svc.media import Media

# Longer than a request can be repeated, so that its answer names media that is still there.
UNPUBLISHED_LIFETIME_S = 2 * LIFETIME_S


class _MediaRow(msgspec.Struct, array_like=True):
    content_type: str
    size: int
    secret: str
    ready: bool


class MediaRepository:
    """Media on a table. A row that is ready never changes again, and is never removed."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def announcement(self, media: Media) -> Put:
        """Make the operation that notes new media; it is forgotten if it is never published."""
        expires_at = time.time() + UNPUBLISHED_LIFETIME_S
        return Put(_key(media.user_id, media.media_id), _encode(media), condition=Existence.ABSENT, expires_at=expires_at)

    def publication(self, media: Media, unchanged: AtVersion) -> Put:
        """Make the operation that notes that media is published, if it is still the same."""
        return Put(_key(media.user_id, media.media_id), _encode(media), condition=unchanged)

    async def get(self, user_id: int, media_id: int) -> tuple[Media, AtVersion] | None:
        """Give media of a user's, and the condition that it is still the same."""
        item = await self._table.get(_key(user_id, media_id))
        return (_decode(item), AtVersion(item.version)) if item else None

    async def get_many(self, user_id: int, media_ids: Iterable[int]) -> dict[int, Media]:
        """Give those of the media that exist and are the user's, by id."""
        items = await self._table.get_many([_key(user_id, media_id) for media_id in media_ids])
        return {media.media_id: media for media in map(_decode, items.values())}


def _encode(media: Media) -> bytes:
    return msgspec.msgpack.encode(_MediaRow(media.expected.content_type, media.expected.size, media.secret, media.ready))


def _decode(item: Item) -> Media:
    row = msgspec.msgpack.decode(item.value, type=_MediaRow)
    user_id = id_from(item.key.partition[-8:])
    return Media(id_from(item.key.sort), user_id, Stored(row.content_type, row.size), row.secret, row.ready)


def _key(user_id: int, media_id: int) -> Key:
    return Key(b"media/" + id_bytes(user_id), id_bytes(media_id))
