"""What decides between push and pull: each turn is one atomic write with its place among all turns, and its event."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from meshkit.clock import now_ms
from meshkit.errors import OverloadedError
from meshkit.ids import IdGenerator
from meshkit.outbox import Event, Outbox
from meshkit.table.port import AtVersion, ConditionFailedError, Existence, Table
from post_svc.delivery_rows import DeliveryRepository
from post_svc.domain import AuthorDelivery, AuthorTurned, Delivery, PostEvent
from post_svc.turned import TurnedAuthors

_TRIES = 8


class DeliveryService:
    """Turns authors between PUSH and PULL, and tells who turned. Everything may be asked for again."""

    def __init__(
        self,
        table: Table,
        ids: IdGenerator,
        outbox: Outbox,
        encode: Callable[[int, PostEvent], Event],
        turned: TurnedAuthors,
    ) -> None:
        self._table = table
        self._deliveries = DeliveryRepository(table)
        self._ids = ids
        self._outbox = outbox
        self._encode = encode
        self._turned = turned
        # All turns replace one row: those of a process go one after the other, so that only processes get in each other's way.
        self._turning = asyncio.Lock()

    async def get(self, author_id: int) -> AuthorDelivery:
        """Give an author's delivery."""
        return (await self._deliveries.get(author_id))[0]

    async def set(self, author_id: int, wish: Delivery | None, *, force: bool) -> AuthorDelivery:
        """Turn an author to PUSH or PULL, unless an operator forbids it, and give what holds; None ends a force.

        Raises:
            OverloadedError: too many others changed it, or turned, meanwhile.

        """
        author = await self._change(author_id, lambda author: author.decided(wish, force=force))
        self._turned.note(author)
        return author

    async def finish(self, author_id: int, turn: int) -> None:
        """Take note that all timelines are marked for a turn. Raises OverloadedError as `set`."""
        await self._change(author_id, lambda author: author.finished(turn))

    async def turned_after(self, turn: int, limit: int) -> list[AuthorDelivery]:
        """Give authors by their last turns, ascending, those after a turn; fewer than `limit` means that there are no more."""
        return await self._deliveries.turned_after(turn, limit)

    async def _change(self, author_id: int, change: Callable[[AuthorDelivery], AuthorDelivery]) -> AuthorDelivery:
        for _ in range(_TRIES):
            author, unchanged = await self._deliveries.get(author_id)
            changed = change(author)
            if changed == author:
                return author
            try:
                if changed.pushed is not author.pushed:
                    return await self._turn(author, unchanged, changed)
                await self._table.write(*self._deliveries.change(changed, unchanged))
            except ConditionFailedError:
                continue
            return changed
        raise OverloadedError("too many changes at once; try again", reason="CONTENTION")

    async def _turn(self, author: AuthorDelivery, unchanged: AtVersion | Existence, changed: AuthorDelivery) -> AuthorDelivery:
        async with self._turning:
            last = await self._deliveries.last_turn()
            turned = replace(changed, turn=last.turn + 1, turn_ms=now_ms())
            operations = self._deliveries.turn(author, unchanged, turned, last)
            if turned.pushed:
                await self._table.write(*operations)
                return turned
            event = self._encode(self._ids.next(), AuthorTurned(author.author_id, turned.turn))
            await self._table.write(*operations, self._outbox.record(event))
        self._outbox.send(event)
        return turned
