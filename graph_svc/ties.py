"""How users stand to each other, read from a table."""

from collections.abc import Callable, Mapping, Sequence

from graph_svc.domain import FollowerPosition, FollowerRange, Relation, Tie
from graph_svc.revision import Seen
from graph_svc.tie_rows import block_key, decode_tie, fed, tie_key
from graph_svc.user_rows import follower_shard, private_key
from meshkit.ids import MAX_ID, id_bytes, id_from
from meshkit.table.port import AtVersion, Existence, Item, Key, Table

# Where much is left out, the rest is read in steps of this size.
_STEP = 1_000


class TieRepository:
    """Ties and blocks on a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def tie(self, viewer_id: int, author_id: int) -> Tie:
        """Give what ties a viewer to an author."""
        item = await self._table.get(tie_key(viewer_id, author_id))
        return decode_tie(item.value) if item else Tie()

    async def see(self, viewer_id: int, author_id: int) -> Seen:
        """Give how a viewer stands to an author, and what has to hold for a change of that."""
        return (await self.see_many(viewer_id, [author_id]))[0]

    async def see_many(self, viewer_id: int, author_ids: Sequence[int]) -> list[Seen]:
        """Give how a viewer stands to each of some authors, with one read."""
        keys = [key for author_id in author_ids for key in _relation_keys(viewer_id, author_id)]
        items = await self._table.get_many(keys)
        return [_seen(viewer_id, author_id, items) for author_id in author_ids]

    async def followees(self, viewer_id: int, *, after: int, limit: int, keep: Callable[[Tie], bool]) -> list[int]:
        """Give the authors above an id, ascending, whose tie is to be kept."""
        return [id_from(sort) for sort in await self._some(b"ties/" + id_bytes(viewer_id), _above(after), None, limit, keep)]

    async def followers(
        self, author_id: int, within: FollowerRange, *, limit: int, keep: Callable[[Tie], bool]
    ) -> list[FollowerPosition]:
        """Give followers inside a range whose tie is to be kept, in the order of their positions."""
        start, end = within.start.sort_key if within.start else b"", within.end.sort_key if within.end else None
        kept = await self._some(b"followers/" + id_bytes(author_id), start, end, limit, keep)
        return [FollowerPosition.from_sort_key(sort) for sort in kept]

    async def feeds(self, author_id: int, within: FollowerRange, *, limit: int) -> list[bytes]:
        """Give the positions, as sort keys, of followers inside a range in whose feeds the author's posts belong.

        Fewer than `limit` mean that there are no more.
        """
        start, end = within.start.sort_key if within.start else b"", within.end.sort_key if within.end else None
        found: list[bytes] = []
        size = limit
        while True:
            rows = await self._table.rows(b"followers/" + id_bytes(author_id), start=start, end=end, limit=size)
            found += fed(rows)
            if len(found) >= limit or len(rows) < size:
                return found[:limit]
            start, size = rows[-1][0] + b"\0", _STEP

    async def requesters(self, author_id: int, *, after: int, limit: int) -> list[int]:
        """Give who asks to follow, ids above `after`, ascending."""
        return await self._ids(b"requests/" + id_bytes(author_id), after, limit)

    async def requested(self, viewer_id: int, *, after: int, limit: int) -> list[int]:
        """Give who is asked, ids above `after`, ascending."""
        return await self._ids(b"requested/" + id_bytes(viewer_id), after, limit)

    async def muted(self, viewer_id: int, *, after: int, limit: int) -> list[int]:
        """Give who is muted, ids above `after`, ascending."""
        return await self._ids(b"mutes/" + id_bytes(viewer_id), after, limit)

    async def blocked(self, blocker_id: int, *, after: int, limit: int) -> list[int]:
        """Give who is blocked, ids above `after`, ascending."""
        return await self._ids(b"blocks/" + id_bytes(blocker_id), after, limit)

    async def left(self, viewer_id: int, *, after: int, limit: int) -> list[tuple[int, int]]:
        """Give the authors above an id, ascending, whose posts lately went out of a feed, each with the version of that change."""
        items = await self._table.query(b"left/" + id_bytes(viewer_id), start=_above(after), limit=limit)
        return [(id_from(item.key.sort), id_from(item.value)) for item in items]

    async def _ids(self, partition: bytes, after: int, limit: int) -> list[int]:
        items = await self._table.query(partition, start=_above(after), limit=limit)
        return [id_from(item.key.sort) for item in items]

    async def _some(
        self, partition: bytes, start: bytes, end: bytes | None, limit: int, keep: Callable[[Tie], bool]
    ) -> list[bytes]:
        """Give the sort keys of up to `limit` of the ties that are to be kept; fewer mean that there are no more."""
        found: list[bytes] = []
        size = limit
        while True:
            rows = await self._table.rows(partition, start=start, end=end, limit=size)
            found += [sort for sort, value in rows if keep(decode_tie(value))]
            if len(found) >= limit or len(rows) < size:
                return found[:limit]
            start, size = rows[-1][0] + b"\0", _STEP


def _relation_keys(viewer_id: int, author_id: int) -> list[Key]:
    return [
        tie_key(viewer_id, author_id),
        block_key(viewer_id, author_id),
        block_key(author_id, viewer_id),
        private_key(author_id, follower_shard(viewer_id)),
    ]


def _seen(viewer_id: int, author_id: int, items: Mapping[Key, Item]) -> Seen:
    tie, blocking, blocked, private = (items.get(key) for key in _relation_keys(viewer_id, author_id))
    relation = Relation(
        viewer_id,
        author_id,
        decode_tie(tie.value) if tie else Tie(),
        blocking=blocking is not None,
        blocked=blocked is not None,
        author_private=private is not None,
    )
    return Seen(relation, AtVersion(tie.version) if tie else Existence.ABSENT)


def _above(user_id: int) -> bytes:
    # One byte more than the largest id: nothing is above that.
    return id_bytes(user_id + 1) if user_id < MAX_ID else id_bytes(MAX_ID) + b"\0"
