"""The transactional outbox, on a real table and a real queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from meshkit.buckets import bucket_of
from meshkit.clock import now_ms
from meshkit.ids import EPOCH_MS, IdGenerator
from meshkit.lifecycle import background
from meshkit.outbox import Event, Outbox, outbox_record
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.memory_work import QueueBounds
from meshkit.queue.port import Message
from meshkit.table.port import MAX_OPERATIONS, Table
from meshkit.table.sqlite import open_sqlite

PATIENCE = 20.0
TOPIC = "topic"


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    """Open an empty table."""
    async with open_sqlite(tmp_path / "table.db") as opened:
        yield opened


@pytest.fixture
async def queue() -> AsyncIterator[MemoryQueue]:
    """Run a broker that retries at once."""
    async with MemoryQueue(pause=lambda _deliveries: 0.0) as broker:
        yield broker


class Seen:
    """A handler that keeps bodies, and may refuse some."""

    def __init__(self, refuse: Callable[[bytes], bool] = lambda _body: False) -> None:
        self.bodies: list[bytes] = []
        self.refused: list[bytes] = []
        self.gaps = 0
        self._refuse = refuse

    def miss(self) -> None:
        """Note that messages may have gone by unheard."""
        self.gaps += 1

    async def __call__(self, message: Message) -> None:
        """Take or refuse a message."""
        if self._refuse(message.body):
            self.refused.append(message.body)
            raise ValueError("refused")
        self.bodies.append(message.body)


def events(number: int, *, moment: int = 0, broadcast: bool = False) -> list[Event]:
    """Make events of a moment, now by default."""
    ids = IdGenerator(0, lambda: moment or now_ms())
    return [Event(ids.next(), TOPIC, b"%d" % each, broadcast) for each in range(number)]


async def commit(table: Table, made: list[Event]) -> None:
    """Write events to the outbox."""
    for start in range(0, len(made), MAX_OPERATIONS):
        await table.write(*map(outbox_record, made[start : start + MAX_OPERATIONS]))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that nobody announces."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - there is nothing to wait for but the condition
            await asyncio.sleep(0.005)


async def emptied(outbox: Outbox) -> None:
    """Wait until nothing waits."""

    async def empty() -> bool:
        return await outbox.waiting_count() == 0

    await until(empty)


async def test_a_committed_event_is_sent_once_and_removed(table: Table, queue: MemoryQueue) -> None:
    """What is committed and handed over is published whole, exactly once while nothing fails, and then removed."""
    seen, outbox = Seen(), Outbox(table, queue)
    made = events(300)
    await commit(table, made)
    assert await outbox.waiting_count() == 300
    async with queue.work("work", [TOPIC], seen, concurrency=8), background(outbox.run()):
        outbox.send(*made)
        outbox.send(*made)
        await emptied(outbox)
    assert sorted(seen.bodies) == sorted(event.body for event in made)


async def test_the_sweeper_finds_what_nobody_handed_over(table: Table, queue: MemoryQueue) -> None:
    """Events that a crash left are found page by page, however many share a shard."""
    ids = IdGenerator(0, lambda: EPOCH_MS + 1_000)
    same_shard = (each for each in iter(ids.next, None) if bucket_of(each) % 16 == 3)
    made = [Event(next(same_shard), TOPIC, b"%d" % number) for number in range(450)]
    await commit(table, made)
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=PATIENCE)
    async with queue.work("work", [TOPIC], seen, concurrency=8), background(outbox.run()):
        await emptied(outbox)
    assert sorted(seen.bodies) == sorted(event.body for event in made)


async def test_the_sweeper_leaves_young_events_to_their_senders(table: Table, queue: MemoryQueue) -> None:
    """An event younger than the age is not swept: who committed it is about to send it."""
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=0.001, sweep_age=60)
    young, *old = [*events(1), *events(4, moment=now_ms() - 61_000)]
    await commit(table, [young, old[0]])
    async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
        for late in old[1:]:  # when one that came later was found, every shard was looked at
            await commit(table, [late])
            await until(_has(seen, late.body))
    assert await table.get(young.key)


def _has(seen: Seen, body: bytes) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return body in seen.bodies

    return has


async def test_without_a_consumer_events_wait(table: Table, queue: MemoryQueue) -> None:
    """An event that nobody takes stays in the table, is tried again, and leaves when somebody takes it."""
    outbox, seen = Outbox(table, queue, sweep_seconds=0.001, sweep_age=0), Seen()
    made = events(5)
    await commit(table, made)
    with capture_logs() as logs:
        async with background(outbox.run()):
            outbox.send(*made)

            async def tried_twice() -> bool:
                return len([log for log in logs if log.get("topic") == TOPIC]) >= 10

            await until(tried_twice)
            assert await outbox.waiting_count() == 5
            async with queue.work("work", [TOPIC], seen, concurrency=1):
                await emptied(outbox)
    assert set(seen.bodies) == {event.body for event in made}


async def test_a_dead_letter_does_not_hold_up_others(table: Table, queue: MemoryQueue) -> None:
    """An event that its consumer refuses for good stays in the table and is tried again; all others get through."""
    made = events(20)
    poison = made[0]
    seen = Seen(lambda body: body == poison.body)
    outbox = Outbox(table, queue, senders=1, sweep_seconds=0.001, sweep_age=0)
    await commit(table, made)
    async with queue.work("work", [TOPIC], seen, concurrency=1, delivery_limit=1), background(outbox.run()):

        async def only_poison() -> bool:
            return await outbox.waiting_count() == 1 and len(seen.refused) >= 2

        await until(only_poison)
    assert await table.get(poison.key)
    assert set(seen.bodies) == {event.body for event in made[1:]}


async def test_what_finds_no_room_is_swept(table: Table, queue: MemoryQueue) -> None:
    """Events beyond the bound of what may wait in memory are not lost, only later."""
    seen, outbox = Seen(), Outbox(table, queue, senders=1, waiting=2, sweep_seconds=0.001, sweep_age=0)
    made = events(50)
    await commit(table, made)
    outbox.send(*made)
    async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
        await emptied(outbox)
    assert set(seen.bodies) == {event.body for event in made}


async def test_a_broadcast_needs_nobody(table: Table, queue: MemoryQueue) -> None:
    """A broadcast is sent and removed whether somebody listens or not."""
    outbox = Outbox(table, queue)
    alone = events(3, broadcast=True)
    await commit(table, alone)
    async with background(outbox.run()):
        outbox.send(*alone)
        await emptied(outbox)
        heard = Seen()
        async with queue.listen([TOPIC], heard, missed=heard.miss):
            more = events(3, broadcast=True)
            await commit(table, more)
            outbox.send(*more)
            await until(_has(heard, more[-1].body))
    assert set(heard.bodies) == {event.body for event in more}


async def test_a_swept_broadcast_is_still_a_broadcast(table: Table, queue: MemoryQueue) -> None:
    """Topic, body and kind survive in the table: a swept broadcast does not wait for a work queue."""
    outbox = Outbox(table, queue)
    await commit(table, events(3, moment=EPOCH_MS + 1, broadcast=True))
    async with background(outbox.run()):
        await emptied(outbox)


async def test_events_are_spread_over_partitions(table: Table) -> None:
    """No single partition takes every event, and each event has a key of its own."""
    made = events(1_000)
    assert len({event.key for event in made}) == 1_000
    assert len({event.key.partition for event in made}) == 16
    assert await Outbox(table, MemoryQueue()).waiting_count() == 0


async def test_a_full_queue_is_tried_again(table: Table) -> None:
    """An overloaded broker loses nothing: what it refuses is sent when there is room."""
    seen = Seen()
    made = events(30)
    await commit(table, made)
    async with MemoryQueue(bounds=QueueBounds(messages=1)) as queue:
        outbox = Outbox(table, queue, senders=10, sweep_seconds=0.001, sweep_age=0)
        async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
            outbox.send(*made)
            await emptied(outbox)
    assert set(seen.bodies) == {event.body for event in made}
