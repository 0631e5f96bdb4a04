"""What holds of turns and stamps whoever comes in between, on a real table."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import cast

import pytest

from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import Check, Delete, Item, Key, Operation, Put, Table
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import AUTHOR_TURNED
from post_svc.attachments import Attachments
from post_svc.delivery_rows import DeliveryRepository
from post_svc.delivery_service import DeliveryService
from post_svc.domain import AuthorDelivery, Delivery
from post_svc.events import encode
from post_svc.media_rows import MediaRepository
from post_svc.posts import PostRepository
from post_svc.service import PostService
from post_svc.turned import TurnedAuthors
from tests.rpc.client import PATIENCE, task_of
from tests.rpc.inbox import Inbox
from tests.rpc.nobody import Nobody

ADA, BOB = 11, 12
DAY_MS = 86_400_000


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    """Open an empty table."""
    async with open_sqlite(tmp_path / "posts.db") as opened:
        yield opened


class Held:
    """A table whose first write waits at a gate, and that tells when it came there."""

    def __init__(self, table: Table) -> None:
        self.get, self.get_many, self.query = table.get, table.get_many, table.query
        self.came, self.gate = asyncio.Event(), asyncio.Event()
        self._table = table

    async def write(self, *operations: Operation) -> None:
        """Wait, and write."""
        self.came.set()
        await self.gate.wait()
        await self._table.write(*operations)


def posts_on(table: Table) -> PostService:
    """Make the service that publishes posts."""
    attachments = Attachments(MediaRepository(table), "https://media.test")
    return PostService(
        table, IdGenerator(1), Outbox(table, MemoryQueue()), encode, attachments, Nobody(), TurnedAuthors(DeliveryRepository(table))
    )


def deliveries_on(table: Table) -> DeliveryService:
    """Make the service that turns authors."""
    return DeliveryService(table, IdGenerator(2), Outbox(table, MemoryQueue()), encode, TurnedAuthors(DeliveryRepository(table)))


async def turn(table: Table, *wishes: Delivery) -> None:
    """Turn Ada to each, and finish what turns to PULL."""
    deliveries = deliveries_on(table)
    for wish in wishes:
        await deliveries.finish(ADA, (await deliveries.set(ADA, wish, force=False)).turn)


@pytest.mark.parametrize(
    ("meanwhile", "stamp"),
    [
        ((Delivery.PUSH,), Delivery.PUSH),
        ((Delivery.PUSH, Delivery.PULL), Delivery.PULL),
    ],
    ids=["to push", "to push and back"],
)
async def test_no_post_is_stamped_pull_after_its_author_turned_to_push(
    table: Table, meanwhile: tuple[Delivery, ...], stamp: Delivery
) -> None:
    """A post that is about to be written as PULL when its author turns is stamped anew; it is never lost and never doubled."""
    await turn(table, Delivery.PULL)
    held = Held(table)
    async with task_of(posts_on(cast("Table", held)).create(ADA, "text", (), None)) as creating:
        await asyncio.wait_for(held.came.wait(), PATIENCE)
        await turn(table, *meanwhile)
        turned = await deliveries_on(table).get(ADA)
        held.gate.set()
        made = await creating
    assert made.delivery is stamp is turned.delivery
    found = await PostRepository(table).get(made.post_id)
    assert found
    assert found[0] == made
    assert await PostRepository(table).ids_by_author(ADA, before=None, limit=10) == [made.post_id]


@pytest.mark.parametrize("earlier", [(), (Delivery.PULL, Delivery.PUSH)], ids=["never turned", "turned before"])
async def test_a_post_stamped_push_need_not_be_written_again(table: Table, earlier: tuple[Delivery, ...]) -> None:
    """A post that is about to be written as PUSH stays so when its author turns: what is pushed is always right."""
    await turn(table, *earlier)
    held = Held(table)
    async with task_of(posts_on(cast("Table", held)).create(ADA, "text", (), None)) as creating:
        await asyncio.wait_for(held.came.wait(), PATIENCE)
        await turn(table, Delivery.PULL)
        held.gate.set()
        assert (await creating).delivery is Delivery.PUSH


class Apart:
    """A table on which something happens between a write's look and the write."""

    def __init__(self, table: Table, key: Key, event: Callable[[], Awaitable[object]]) -> None:
        self.get_many, self.query, self.write = table.get_many, table.query, table.write
        self._table = table
        self._key = key
        self._event: Callable[[], Awaitable[object]] | None = event

    async def get(self, key: Key) -> Item | None:
        """Read, and have the event happen after the first read of the key."""
        item = await self._table.get(key)
        if key == self._key and (event := self._event):
            self._event = None
            await event()
        return item


@pytest.mark.parametrize(
    "key", [Key(b"turns", b"count"), Key(b"delivery/" + ADA.to_bytes(8), b"delivery")], ids=["the count", "the author"]
)
async def test_turns_of_other_processes_are_seen(table: Table, key: Key) -> None:
    """Two processes that turn at the same moment give two turns, and one where both turn the same author alike."""
    other = deliveries_on(table)

    async def turn_meanwhile() -> None:
        await other.set(BOB, Delivery.PULL, force=False)
        await other.set(ADA, Delivery.PULL, force=False)

    mine = await deliveries_on(cast("Table", Apart(table, key, turn_meanwhile))).set(ADA, Delivery.PULL, force=False)
    assert mine == await other.get(ADA)
    assert [(author.author_id, author.turn) for author in await other.turned_after(0, 10)] == [(BOB, 1), (ADA, 2)]


async def test_a_turns_event_is_sent_at_once(table: Table) -> None:
    """Timelines are asked to be marked without waiting for the sweeper."""
    inbox = Inbox()
    async with MemoryQueue() as queue, queue.work("turns", [AUTHOR_TURNED], inbox, concurrency=1):
        outbox = Outbox(table, queue, sweep_age=1e9)
        async with outbox.sending():
            await DeliveryService(table, IdGenerator(2), outbox, encode, TurnedAuthors(DeliveryRepository(table))).set(
                ADA, Delivery.PULL, force=False
            )
            await inbox.wait_for(lambda bodies: len(bodies) == 1)


async def test_a_finish_that_crosses_a_turn_does_nothing(table: Table) -> None:
    """A finish that looked before its author turned back and on again does not finish the new turn."""
    await deliveries_on(table).set(ADA, Delivery.PULL, force=False)

    async def turn_twice() -> None:
        for wish in (Delivery.PUSH, Delivery.PULL):
            await deliveries_on(table).set(ADA, wish, force=False)

    key = Key(b"delivery/" + ADA.to_bytes(8), b"delivery")
    await deliveries_on(cast("Table", Apart(table, key, turn_twice))).finish(ADA, 1)
    found = await deliveries_on(table).get(ADA)
    assert (found.delivery, found.turn) == (Delivery.BOTH, 3)


async def test_a_turn_may_be_read_in_parts(tmp_path: Path) -> None:
    """Whichever rows of a turn's write a reader of the log sees already, it is told of every author who ever turned."""
    for number, parts in enumerate(part for size in range(7) for part in combinations(range(6), size)):
        async with open_sqlite(tmp_path / f"{number}.db") as table:
            await turn(table, Delivery.PULL)
            await deliveries_on(table).set(BOB, Delivery.PULL, force=False)
            rows = DeliveryRepository(table)
            before, unchanged = await rows.get(ADA)
            after = replace(before, delivery=Delivery.PUSH, turn=3, turn_ms=now_ms())
            operations = rows.turn(before, unchanged, after, await rows.last_turn())
            seen = [operations[part] for part in parts if part < len(operations)]
            if written := [each for each in seen if isinstance(each, Put | Delete)]:
                await table.write(*written)
            assert {author.author_id for author in await rows.turned_after(0, 10)} == {ADA, BOB}


async def test_a_turn_waits_for_the_one_before_it(table: Table) -> None:
    """A turn is written under the condition that the row of the turn before it can be read, so that none appears before it."""
    await turn(table, Delivery.PULL)
    rows = DeliveryRepository(table)
    last = await rows.last_turn()
    bob = AuthorDelivery(BOB, Delivery.BOTH, 2, now_ms())
    [before] = [each for each in rows.turn(AuthorDelivery(BOB), (await rows.get(BOB))[1], bob, last) if isinstance(each, Check)]
    await table.write(before)
    assert (await table.get(before.key)) is not None
    assert [author.turn for author in await rows.turned_after(0, 10)] == [1]


@pytest.mark.parametrize(
    ("delivery", "days", "told"),
    [(Delivery.PUSH, 30, True), (Delivery.PUSH, 32, False), (Delivery.BOTH, 999, True), (Delivery.PULL, 999, True)],
)
async def test_who_is_back_on_push_leaves_the_log(table: Table, delivery: Delivery, days: int, *, told: bool) -> None:
    """31 days after a turn to PUSH it is no longer told, a turn to PULL always; what the author is, is known for ever."""
    rows = DeliveryRepository(table)
    author = AuthorDelivery(ADA, delivery, 1, now_ms() - days * DAY_MS)
    await table.write(*rows.turn(AuthorDelivery(ADA), (await rows.get(ADA))[1], author, await rows.last_turn()))
    assert await rows.turned_after(0, 10) == ([author] if told else [])
    assert (await rows.get(ADA))[0] == author
    again = await deliveries_on(table).set(BOB, Delivery.PULL, force=False)
    assert again.turn == 2
