"""Where follows are kept: each edge twice, once for either side, always written together."""

from dataclasses import dataclass

from graph_svc.domain import Follow, FollowerPosition, FollowerRange
from graph_svc.users import follower_count_key, follower_shard, following_count_key
from meshkit.clock import now_ms
from meshkit.ids import MAX_ID, id_bytes, id_from
from meshkit.table.port import Add, AtVersion, Check, Condition, Delete, Existence, Key, Operation, Put, Table

# Longer than clocks of different machines, or of one before and after a restart, can be apart.
_ENDED_SECONDS = 7 * 86_400


def following_key(follower_id: int, followee_id: int) -> Key:
    """Where the follower's side of an edge is."""
    return Key(b"following/" + id_bytes(follower_id), id_bytes(followee_id))


def followers_key(followee_id: int, follower_id: int) -> Key:
    """Where the followee's side of an edge is."""
    return Key(b"followers/" + id_bytes(followee_id), FollowerPosition.of(follower_id).sort_key)


def _ended_key(follower_id: int, followee_id: int) -> Key:
    return Key(b"ended/" + id_bytes(follower_id), id_bytes(followee_id))


@dataclass(frozen=True, slots=True)
class Seen:
    """The conditions that an edge, and what is noted of an earlier one's end, are as they were seen."""

    edge: AtVersion
    ended: Condition


class FollowRepository:
    """Follows on a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def creation(self, follow: Follow, ended: Condition) -> list[Operation]:
        """Make the operations that create an edge, if there is none, and what is noted of an earlier one's end is as it was seen.

        Nothing here is shared by all who follow the same user: such operations would get in each other's way.
        """
        version = id_bytes(follow.version)
        return [
            Check(_ended_key(follow.follower_id, follow.followee_id), ended or Existence.ABSENT),
            Put(following_key(follow.follower_id, follow.followee_id), version, condition=Existence.ABSENT),
            Put(followers_key(follow.followee_id, follow.follower_id), version, condition=Existence.ABSENT),
            Add(following_count_key(follow.follower_id), 1),
            Add(follower_count_key(follow.followee_id, follower_shard(follow.follower_id)), 1),
        ]

    def removal(self, follow: Follow, ended: int, seen: Seen) -> list[Operation]:
        """Make the operations that remove an edge, if it is still as it was seen, and note the version with which it ended."""
        return [
            Put(
                _ended_key(follow.follower_id, follow.followee_id),
                id_bytes(ended),
                # An edge that came and went and came again has the same version as before; what is noted of its ends has not.
                condition=seen.ended or Existence.ABSENT,
                expires_at=now_ms() / 1000 + _ENDED_SECONDS,
            ),
            Delete(following_key(follow.follower_id, follow.followee_id), condition=seen.edge),
            Delete(followers_key(follow.followee_id, follow.follower_id), condition=Existence.PRESENT),
            Add(following_count_key(follow.follower_id), -1),
            Add(follower_count_key(follow.followee_id, follower_shard(follow.follower_id)), -1),
        ]

    async def ended(self, follower_id: int, followee_id: int) -> tuple[int, Condition]:
        """Give the version with which an edge ended lately, or 0, and the condition that this is still so.

        A new edge must have a larger version, whatever the clock says.
        """
        item = await self._table.get(_ended_key(follower_id, followee_id))
        return (id_from(item.value), AtVersion(item.version)) if item else (0, None)

    async def get(self, follower_id: int, followee_id: int) -> Follow | None:
        """Give an edge, or None."""
        item = await self._table.get(following_key(follower_id, followee_id))
        return Follow(follower_id, followee_id, id_from(item.value)) if item else None

    async def see(self, follower_id: int, followee_id: int) -> tuple[Follow, Seen] | None:
        """Give an edge and the conditions that it is still the same."""
        # In this order: an end between the two reads changes what is noted of ends, so that the conditions do not hold.
        _, ended = await self.ended(follower_id, followee_id)
        item = await self._table.get(following_key(follower_id, followee_id))
        if item is None:
            return None
        return Follow(follower_id, followee_id, id_from(item.value)), Seen(AtVersion(item.version), ended)

    async def followees(self, follower_id: int, *, after: int, limit: int) -> list[int]:
        """Give whom a user follows: ids above `after`, ascending."""
        if after >= MAX_ID:
            return []
        items = await self._table.query(b"following/" + id_bytes(follower_id), start=id_bytes(after + 1), limit=limit)
        return [id_from(item.key.sort) for item in items]

    async def followers(self, followee_id: int, within: FollowerRange, *, limit: int) -> list[FollowerPosition]:
        """Give a user's followers inside a range, in the order of their positions."""
        items = await self._table.query(
            b"followers/" + id_bytes(followee_id),
            start=within.start.sort_key if within.start else b"",
            end=within.end.sort_key if within.end else None,
            limit=limit,
        )
        return [FollowerPosition.from_sort_key(item.key.sort) for item in items]
