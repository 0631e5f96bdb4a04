"""What a process knows of who turned, and what it asks for all the same."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from meshkit.ids import IdGenerator
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import Item, Key, Table
from meshkit.table.sqlite import open_sqlite
from post_svc.delivery_rows import DeliveryRepository
from post_svc.delivery_service import DeliveryService
from post_svc.domain import Delivery
from post_svc.events import encode
from post_svc.turned import TurnedAuthors

ADA, BOB = 1, 2


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    """Open a table."""
    async with open_sqlite(tmp_path / "table.db") as opened:
        yield opened


class Counting:
    """A table that counts the rows that are asked for one by one."""

    def __init__(self, table: Table) -> None:
        self.get_many, self.query, self.write = table.get_many, table.query, table.write
        self.asked = 0
        self._table = table

    async def get(self, key: Key) -> Item | None:
        """Read an item."""
        self.asked += 1
        return await self._table.get(key)


def elsewhere(table: Table) -> DeliveryService:
    """Make another process's service that turns authors."""
    turned = TurnedAuthors(DeliveryRepository(table))
    return DeliveryService(table, IdGenerator(2), Outbox(table, MemoryQueue()), encode, turned)


async def test_who_never_turned_is_not_asked_for(table: Table) -> None:
    """When the log was read, an author who is not in it costs no read; the row of one on PULL is read, and demanded."""
    other = elsewhere(table)
    await other.finish(ADA, (await other.set(ADA, Delivery.PULL, force=False)).turn)
    counting = Counting(table)
    turned = TurnedAuthors(DeliveryRepository(cast("Table", counting)))
    await turned.look()
    assert await turned.stamp(BOB) == (Delivery.PUSH, [])
    assert counting.asked == 0
    stamp, demands = await turned.stamp(ADA)
    assert (stamp, len(demands), counting.asked) == (Delivery.PULL, 1, 1)


async def test_before_the_log_is_known_everybody_is_asked_for(table: Table) -> None:
    """A process that has not read the log yet stamps by the author's row."""
    await elsewhere(table).set(ADA, Delivery.PULL, force=False)
    counting = Counting(table)
    turned = TurnedAuthors(DeliveryRepository(cast("Table", counting)))
    assert (await turned.stamp(ADA))[0] is Delivery.BOTH
    assert (await turned.stamp(BOB))[0] is Delivery.PUSH
    assert counting.asked == 2


async def test_the_log_is_followed(table: Table) -> None:
    """Turns of other processes are known after the next look, there and back; the own ones at once."""
    counting = Counting(table)
    turned = TurnedAuthors(DeliveryRepository(cast("Table", counting)))
    await turned.look()
    other = elsewhere(table)
    await other.set(ADA, Delivery.PULL, force=False)
    await turned.look()
    assert (await turned.stamp(ADA))[0] is Delivery.BOTH
    await other.set(ADA, Delivery.PUSH, force=False)
    await turned.look()
    counting.asked = 0
    assert await turned.stamp(ADA) == (Delivery.PUSH, [])
    assert counting.asked == 0
    turned.note(await other.set(BOB, Delivery.PULL, force=False))
    assert (await turned.stamp(BOB))[0] is Delivery.BOTH
