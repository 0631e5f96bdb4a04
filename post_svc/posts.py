"""Where posts are kept: a row for each, and each author's posts by id."""

from collections.abc import Sequence

import msgspec

from meshkit.ids import id_bytes, id_from
from meshkit.table.port import AtVersion, Delete, Existence, Item, Key, Operation, Put, Table
from post_svc.domain import Delivery, Draft, Post


class _PostRow(msgspec.Struct, array_like=True):
    author_id: int
    content: str
    media: tuple[str, ...]
    version: int
    updated_ms: int
    deleted: bool
    delivery: int = Delivery.PUSH  # rows of the first releases have none


class PostRepository:
    """Posts on a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def creation(self, post: Post) -> list[Operation]:
        """Make the operations that publish a post."""
        return [
            Put(_post_key(post.post_id), encode_post(post), condition=Existence.ABSENT),
            Put(_author_key(post.author_id, post.post_id), b""),
        ]

    def edit(self, post: Post, unchanged: AtVersion) -> list[Operation]:
        """Make the operations that replace a post, if it is still the same."""
        return [Put(_post_key(post.post_id), encode_post(post), condition=unchanged)]

    def deletion(self, tombstone: Post, unchanged: AtVersion) -> list[Operation]:
        """Make the operations that leave a tombstone, if the post is still the same."""
        return [*self.edit(tombstone, unchanged), Delete(_author_key(tombstone.author_id, tombstone.post_id))]

    async def get(self, post_id: int) -> tuple[Post, AtVersion] | None:
        """Give a post, or its tombstone, and the condition that it is still the same."""
        item = await self._table.get(_post_key(post_id))
        return (_decode(item), AtVersion(item.version)) if item else None

    async def get_many(self, post_ids: Sequence[int]) -> list[Post]:
        """Give those of the posts that exist and are not deleted, in the order asked for."""
        keys = [_post_key(post_id) for post_id in post_ids]
        items = await self._table.get_many(keys)
        posts = [_decode(items[key]) for key in keys if key in items]
        return [post for post in posts if not post.deleted]

    async def ids_by_author(self, author_id: int, *, before: int | None, limit: int) -> list[int]:
        """Give an author's posts below an id, newest first."""
        end = None if before is None else id_bytes(before)
        items = await self._table.query(b"author/" + id_bytes(author_id), end=end, limit=limit, reverse=True)
        return [id_from(item.key.sort) for item in items]


def encode_post(post: Post) -> bytes:
    """Encode what of a post its id does not tell."""
    draft = post.draft
    row = _PostRow(post.author_id, draft.content, draft.media, post.version, post.updated_ms, post.deleted, post.delivery)
    return msgspec.msgpack.encode(row)


def decode_post(post_id: int, value: bytes) -> Post:
    """Decode what `encode_post` made."""
    row = msgspec.msgpack.decode(value, type=_PostRow)
    draft, delivery = Draft(row.content, row.media), Delivery(row.delivery)
    return Post(post_id, row.author_id, draft, row.version, row.updated_ms, row.deleted, delivery)


def _decode(item: Item) -> Post:
    return decode_post(id_from(item.key.partition[-8:]), item.value)


def _post_key(post_id: int) -> Key:
    return Key(b"post/" + id_bytes(post_id), b"post")


def _author_key(author_id: int, post_id: int) -> Key:
    return Key(b"author/" + id_bytes(author_id), id_bytes(post_id))
