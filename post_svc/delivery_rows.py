"""Where it is kept how authors' posts get into feeds: a row for each author who was ever decided on, and a log of all turns.

Turns are counted in the order of their commits: whoever turns an author replaces the count, under the condition that nobody else
did meanwhile. Each turn is a row of the log, a copy of the author's own row.
"""

from dataclasses import dataclass

import msgspec

from meshkit.ids import id_bytes
from meshkit.table.port import AtVersion, Check, Existence, Item, Key, Operation, Put, Table
from post_svc.domain import AuthorDelivery, Delivery

_COUNT = Key(b"turns", b"count")
_LOG = b"turn-log"
# Of who is back on PUSH. Who asks later has a timeline that began after the turn: none lives 31 days without being read.
_KEPT_SECONDS = 31 * 86_400
# Longer than any read or write takes. A read of a log that changes may see a part of a write: then it still sees the earlier turn.
_MOMENT_SECONDS = 3_600


class _DeliveryRow(msgspec.Struct, array_like=True):
    author_id: int
    delivery: int
    turn: int
    turn_ms: int
    forced: bool


class _CountRow(msgspec.Struct, array_like=True):
    turn: int
    turn_ms: int


@dataclass(frozen=True, slots=True)
class LastTurn:
    """The newest turn of all, 0 if there never was one, when that was, and the condition that it still is the newest."""

    turn: int
    turn_ms: int
    unchanged: AtVersion | Existence


class DeliveryRepository:
    """Authors' deliveries on a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, author_id: int) -> tuple[AuthorDelivery, AtVersion | Existence]:
        """Give an author's delivery, and the condition that it is still the same."""
        item = await self._table.get(_author_key(author_id))
        return (_decode(item), AtVersion(item.version)) if item else (AuthorDelivery(author_id), Existence.ABSENT)

    async def stamp(self, author_id: int) -> tuple[Delivery, list[Operation]]:
        """Give what a new post gets, and the operations that demand that it may still get that when it is written.

        What is pushed may come at any time. What is not must not come after the author turned to push.
        """
        author, unchanged = await self.get(author_id)
        demands = [Check(_author_key(author_id), unchanged)] if author.delivery is Delivery.PULL else []
        return author.delivery, [*demands]

    async def last_turn(self) -> LastTurn:
        """Give the newest turn."""
        item = await self._table.get(_COUNT)
        if item is None:
            return LastTurn(0, 0, Existence.ABSENT)
        row = msgspec.msgpack.decode(item.value, type=_CountRow)
        return LastTurn(row.turn, row.turn_ms, AtVersion(item.version))

    async def turned_after(self, turn: int, limit: int) -> list[AuthorDelivery]:
        """Give authors by their last turns, ascending, those after a turn; fewer than `limit` means that there are no more."""
        found: dict[int, AuthorDelivery] = {}
        while True:
            rows = [_decode(item) for item in await self._table.query(_LOG, start=id_bytes(turn + 1), limit=limit)]
            for author in rows:
                found.pop(author.author_id, None)  # an earlier turn, which is kept for a moment
                found[author.author_id] = author
            if len(rows) < limit or len(found) >= limit:
                return list(found.values())[:limit]
            turn = rows[-1].turn

    def change(self, author: AuthorDelivery, unchanged: AtVersion | Existence) -> list[Operation]:
        """Make the operations that change a delivery without a turn, if it is still the same."""
        row = Put(_author_key(author.author_id), _encode(author), condition=unchanged)
        return [row, _logged(author)] if author.turn else [row]

    def turn(
        self, before: AuthorDelivery, unchanged: AtVersion | Existence, after: AuthorDelivery, last: LastTurn
    ) -> list[Operation]:
        """Make the operations that turn an author, if it is still the same, and `last` is the newest turn of all."""
        count = _CountRow(after.turn, after.turn_ms)
        operations: list[Operation] = [
            Put(_COUNT, msgspec.msgpack.encode(count), condition=last.unchanged),
            *self.change(after, unchanged),
        ]
        if before.turn:
            operations.append(_logged(before, lasting_to=after.turn_ms / 1000 + _MOMENT_SECONDS))
        if last.turn not in (0, before.turn) and after.turn_ms - last.turn_ms < _MOMENT_SECONDS * 1000:
            # The parts of a write become readable one by one: no turn may be before its predecessor is.
            operations.append(Check(_log_key(last.turn), Existence.PRESENT))
        return operations


def _logged(author: AuthorDelivery, *, lasting_to: float | None = None) -> Put:
    if lasting_to is None and author.pushed:
        lasting_to = author.turn_ms / 1000 + _KEPT_SECONDS
    return Put(_log_key(author.turn), _encode(author), expires_at=lasting_to)


def _encode(author: AuthorDelivery) -> bytes:
    row = _DeliveryRow(author.author_id, author.delivery, author.turn, author.turn_ms, author.forced)
    return msgspec.msgpack.encode(row)


def _decode(item: Item) -> AuthorDelivery:
    row = msgspec.msgpack.decode(item.value, type=_DeliveryRow)
    return AuthorDelivery(row.author_id, Delivery(row.delivery), row.turn, row.turn_ms, row.forced)


def _author_key(author_id: int) -> Key:
    return Key(b"delivery/" + id_bytes(author_id), b"delivery")


def _log_key(turn: int) -> Key:
    return Key(_LOG, id_bytes(turn))
