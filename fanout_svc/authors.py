"""Where is kept what was seen of authors with many followers: a row each, and a list of all by size."""

from collections.abc import Callable, Sequence
from math import log2

import msgspec
import structlog

from fanout_svc.policy import Author
from meshkit.ids import id_bytes, id_from
from meshkit.table.port import AtVersion, ConditionFailedError, Delete, Existence, Item, Key, Operation, Put, Table

_BY_SIZE = b"authors"
_TRIES = 5
_STEPS = 8  # of the list in each doubling of the size, so that small changes need no other place in it
_log = structlog.get_logger(__name__)


class _AuthorRow(msgspec.Struct, array_like=True):
    follower_count: int
    pushed_count: int
    reached_count: int
    gap_ms: int
    last_post_ms: int


class AuthorRepository:
    """Authors on a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, author_id: int) -> Author | None:
        """Give what was seen of an author, or None."""
        item = await self._table.get(_author_key(author_id))
        return _decode(item) if item else None

    async def update(self, author_id: int, change: Callable[[Author | None], Author]) -> Author:
        """Change what is kept of an author. When others do at every moment, the change is given up: it is a statistic."""
        for _ in range(_TRIES):
            item = await self._table.get(_author_key(author_id))
            known = _decode(item) if item else None
            changed = change(known)
            try:
                await self._table.write(*_writes(known, changed, AtVersion(item.version) if item else Existence.ABSENT))
            except ConditionFailedError:
                continue
            return changed
        _log.info("what was seen of an author is not kept: too many change it", author_id=author_id)
        return changed

    async def largest(self, limit: int) -> Sequence[Author]:
        """Give the authors with most active followers, largest first; of those about as large as the last, any."""
        listed = await self._table.query(_BY_SIZE, limit=limit, reverse=True)
        items = await self._table.get_many([_author_key(id_from(item.key.sort[-8:])) for item in listed])
        return sorted(map(_decode, items.values()), key=lambda author: author.active_count, reverse=True)


def _writes(known: Author | None, changed: Author, condition: AtVersion | Existence) -> list[Operation]:
    place = _place_of(changed)
    writes: list[Operation] = [Put(_author_key(changed.author_id), _encode(changed), condition=condition)]
    if known is None or _place_of(known) != place:
        writes += [Put(place, b""), *([Delete(_place_of(known))] if known else [])]
    return writes


def _author_key(author_id: int) -> Key:
    return Key(b"author/" + id_bytes(author_id), b"seen")


def _place_of(author: Author) -> Key:
    size = round(_STEPS * log2(1 + author.active_count))
    return Key(_BY_SIZE, size.to_bytes(2) + id_bytes(author.author_id))


def _encode(author: Author) -> bytes:
    row = _AuthorRow(
        follower_count=author.follower_count,
        pushed_count=author.pushed_count,
        reached_count=author.reached_count,
        gap_ms=author.gap_ms,
        last_post_ms=author.last_post_ms,
    )
    return msgspec.msgpack.encode(row)


def _decode(item: Item) -> Author:
    row = msgspec.msgpack.decode(item.value, type=_AuthorRow)
    return Author(id_from(item.key.partition[-8:]), **msgspec.structs.asdict(row))
