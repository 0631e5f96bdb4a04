"""The transactional outbox, on a real table and a real queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from meshkit.buckets import bucket_of
from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.ids import EPOCH_MS, IdGenerator
from meshkit.lease import Lease
from meshkit.lifecycle import background
from meshkit.outbox import Event, Outbox
from meshkit.outbox_events import outbox_record
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.memory_work import QueueBounds
from meshkit.queue.port import Message
from meshkit.table.port import MAX_OPERATIONS, Key, Put, Table
from meshkit.table.sqlite import open_sqlite
from meshkit.tracing import continued, trace_id

PATIENCE = 20.0
TOPIC = "topic"
LEASE = Key(b"outbox-lease", b"sweeper")


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


def in_one_partition(number: int) -> list[Event]:
    """Make old events that share a partition."""
    ids = IdGenerator(0, lambda: EPOCH_MS + 1_000)
    same_shard = (each for each in iter(ids.next, None) if bucket_of(each) % 16 == 3)
    return [Event(next(same_shard), TOPIC, b"%d" % each) for each in range(number)]


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
    made = in_one_partition(450)
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


async def test_what_was_committed_before_a_clock_went_back_is_swept(table: Table, queue: MemoryQueue) -> None:
    """An event whose id is ahead of the clock by ten minutes is sent and removed, and counted as one that waits just now."""
    await commit(table, events(40, moment=now_ms() + 600_000))
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=0.01, sweep_age=0.05)
    with capture_logs() as logs:
        async with background(outbox.run()):
            await until(_sees(outbox, 40))
            assert outbox.oldest_seconds < 60
            async with queue.work("work", [TOPIC], seen, concurrency=8):
                await emptied(outbox)
    assert {event.body for event in events(40)} == set(seen.bodies)
    assert all(log["oldest_seconds"] >= 0 for log in logs if "oldest_seconds" in log)


async def test_events_ahead_of_the_clock_have_their_time_too(table: Table, queue: MemoryQueue) -> None:
    """An event that just came is left to its sender, also if its process's clock is ten minutes fast; later it is swept."""
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=0.001, sweep_age=0.3)
    ids = IdGenerator(0, lambda: now_ms() + 600_000)
    async with queue.work("work", [TOPIC], seen, concurrency=8), background(outbox.run()):
        for _ in range(2):
            made = [Event(ids.next(), TOPIC, b"%d" % number) for number in range(40)]
            began = asyncio.get_running_loop().time()
            await commit(table, made)
            await emptied(outbox)
            assert asyncio.get_running_loop().time() - began >= 0.3
    assert len(seen.bodies) == 80


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


async def test_an_outbox_beyond_its_limit_refuses_work(table: Table, queue: MemoryQueue) -> None:
    """From the limit on there is no room, with a reason that callers know; when the events are sent there is room again."""
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=0.01, sweep_age=0, limit=10)
    await commit(table, events(10, moment=EPOCH_MS + 1))
    outbox.record(events(1)[0])
    async with background(outbox.run()):
        await until(_sees(outbox, 10))
        with pytest.raises(OverloadedError) as refused:
            outbox.record(events(1)[0])
        assert refused.value.reason == "OUTBOX_FULL"
        async with queue.work("work", [TOPIC], seen, concurrency=8):
            await until(_sees(outbox, 0))
    outbox.record(events(1)[0])


async def test_what_waits_is_seen(table: Table, queue: MemoryQueue) -> None:
    """The number of waiting events and the age of the oldest can be read, and one line each tells when they come and go."""
    outbox = Outbox(table, queue, sweep_seconds=0.01, sweep_age=0)
    await commit(table, [*events(1, moment=now_ms() - 90_000), *events(4, moment=now_ms() - 1_000)])
    with capture_logs() as logs:
        async with background(outbox.run()):
            await until(_sees(outbox, 5))
            assert 90 <= outbox.oldest_seconds < 100
            async with queue.work("work", [TOPIC], Seen(), concurrency=8):
                await until(_sees(outbox, 0))
    assert outbox.oldest_seconds == 0
    told = [log["event"] for log in logs if "outbox" in log["event"]]
    assert told == ["events wait in the outbox", "the outbox is empty again"]


async def test_a_large_backlog_is_counted(table: Table) -> None:
    """While the broker is away the whole backlog is counted, also what comes and goes later, though little of it is tried."""
    tried: list[bytes] = []
    async with MemoryQueue() as closed:
        pass
    outbox = Outbox(table, Told(closed, tried), sweep_seconds=0.01, sweep_age=0)
    await commit(table, events(3_000, moment=EPOCH_MS + 1))
    async with background(outbox.run()):
        await until(_sees(outbox, 3_000))
        await commit(table, events(500, moment=EPOCH_MS + 60_000))
        await until(_sees(outbox, 3_500))
        assert outbox.away
        before = len(tried)
        await until(_grew(tried, before + 64))
    assert len(set(tried)) < 1_000


class Told:
    """A queue that notes what is published to it."""

    def __init__(self, queue: MemoryQueue, bodies: list[bytes]) -> None:
        self.work, self.listen = queue.work, queue.listen
        self.dead_letters, self.redrive = queue.dead_letters, queue.redrive
        self._queue = queue
        self._bodies = bodies

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True, together: bool = False) -> None:
        """Note a message, and pass it on."""
        self._bodies.append(body)
        await self._queue.publish(topic, body, mandatory=mandatory, together=together)


async def test_one_of_several_processes_sweeps(table: Table, queue: MemoryQueue) -> None:
    """Of two outboxes on one table one sends what waits, and the other what it committed; each event is sent once."""
    seen = Seen()
    first, second = (Outbox(table, queue, sweep_seconds=0.2, sweep_age=0.1) for _ in range(2))
    left = events(500, moment=EPOCH_MS + 1)
    await commit(table, left)
    async with queue.work("work", [TOPIC], seen, concurrency=8), background(first.run(), second.run()):
        await emptied(first)
        own = events(5)
        await commit(table, own)
        second.send(*own)
        await emptied(first)
        await until(_sees(second, 0))
    assert len(seen.bodies) == 505


async def test_the_other_processes_know_what_waits(table: Table, queue: MemoryQueue) -> None:
    """A process that does not sweep knows from the one that does how much waits, and refuses work as well."""
    await commit(table, events(10, moment=EPOCH_MS + 1))
    boxes = [Outbox(table, queue, sweep_seconds=0.05, sweep_age=0, limit=10) for _ in range(3)]
    async with background(*(outbox.run() for outbox in boxes)):
        for outbox in boxes:
            await until(_sees(outbox, 10))
            with pytest.raises(OverloadedError):
                outbox.record(events(1)[0])


async def test_another_process_follows_a_sweeper_that_died(table: Table, queue: MemoryQueue) -> None:
    """A lease that a dead process left is taken when it has not changed for its time, not before, and events are swept again."""
    dead = Lease(table, LEASE, seconds=1)
    assert await dead.hold(b"")
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=0.2, sweep_age=0)
    await commit(table, events(3, moment=EPOCH_MS + 1))
    began = asyncio.get_running_loop().time()
    async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
        await emptied(outbox)
    assert asyncio.get_running_loop().time() - began >= 0.5
    assert len(seen.bodies) == 3


async def test_a_sweeper_that_stops_makes_way(table: Table, queue: MemoryQueue) -> None:
    """A process that stops in order leaves the lease to others: the next one sweeps at once."""
    async with background(Outbox(table, queue).run()):
        await until(_exists(table, LEASE))
        assert not await Lease(table, LEASE, seconds=60).hold(b"")
    assert await Lease(table, LEASE, seconds=60).hold(b"")


@pytest.mark.parametrize("note", [msgspec.msgpack.encode({"count": 1}), b"\xc1"], ids=["another shape", "no value"])
async def test_a_note_of_another_release_is_no_reason_to_fail(table: Table, queue: MemoryQueue, note: bytes) -> None:
    """A note that cannot be read counts as nothing, is told once, and is followed as any other when its holder is gone."""
    await commit(table, events(1, moment=EPOCH_MS + 1))
    other = Lease(table, LEASE, seconds=60)
    outbox = Outbox(table, queue, sweep_seconds=0.2, sweep_age=0, limit=1)
    with capture_logs() as logs:
        async with background(outbox.run()):
            await until(_sees(outbox, 1))  # it has the lease
            row = await table.get(LEASE)
            assert row is not None
            await table.write(Put(LEASE, msgspec.msgpack.encode(["other", note])))
            await until(_sees(outbox, 0))
            outbox.record(events(1)[0])
            await until(_sees(outbox, 1))
    assert [log["event"] for log in logs].count("the sweeper's note cannot be read; how much waits is not known here") == 1
    assert await other.hold(b"")


async def test_several_broadcasts_are_under_way_at_once(table: Table, queue: MemoryQueue) -> None:
    """Broadcasts do not wait for each other's confirms, and their number is bounded."""
    held = Held(queue)
    outbox = Outbox(table, held, broadcasters=16)
    made = events(20, broadcast=True)
    await commit(table, made)
    async with background(outbox.run()):
        outbox.send(*made)
        await until(_grew(held.bodies, 16))
        await asyncio.sleep(0)
        assert len(held.bodies) == 16
        held.gate.set()
        await emptied(outbox)


class Held(Told):
    """A queue that notes what is published to it, and passes it on when its gate is open. `failing` of them fail at once."""

    def __init__(self, queue: MemoryQueue, *, failing: int = 0) -> None:
        self.bodies: list[bytes] = []
        super().__init__(queue, self.bodies)
        self.gate = asyncio.Event()
        self._failing = failing

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True, together: bool = False) -> None:
        """Wait at the gate."""
        self.bodies.append(body)
        if len(self.bodies) <= self._failing:
            raise UnavailableError("the broker is away", reason="AWAY")
        await self.gate.wait()
        await self._queue.publish(topic, body, mandatory=mandatory, together=together)


async def test_an_orderly_stop_sends_what_was_handed_over(table: Table, queue: MemoryQueue) -> None:
    """Whatever was handed over before the end is sent and removed, work and broadcasts."""
    seen, outbox = Seen(), Outbox(table, queue, senders=4)
    made = events(300) + events(100, moment=now_ms() - 1_000, broadcast=True)
    await commit(table, made)
    async with queue.work("work", [TOPIC], seen, concurrency=1):
        async with outbox.sending():
            outbox.send(*made)
        assert await outbox.waiting_count() == 0
    assert len(seen.bodies) >= 300


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(table: Table, queue: MemoryQueue) -> None:
    """When the broker is away a stop leaves what is under way to the next sweep, at once."""
    held = Held(queue, failing=1)
    outbox = Outbox(table, held)
    made = events(50)
    await commit(table, made)
    began = asyncio.get_running_loop().time()
    async with outbox.sending():
        outbox.send(*made)
    assert asyncio.get_running_loop().time() - began < 1.5
    assert await outbox.waiting_count() == 50


async def test_a_stop_does_not_wait_for_what_gets_on_no_more(table: Table, queue: MemoryQueue) -> None:
    """A broker or a consumer that does not answer holds up a stop for seconds, not longer, and loses nothing."""
    outbox = Outbox(table, Held(queue))
    made = events(5)
    await commit(table, made)
    began = asyncio.get_running_loop().time()
    async with outbox.sending():
        outbox.send(*made)
    assert asyncio.get_running_loop().time() - began < 4
    assert await outbox.waiting_count() == 5


async def test_a_stop_does_not_wait_for_what_the_sweeper_had_in_its_hands(table: Table, queue: MemoryQueue) -> None:
    """What the sweeper found and could not hand over before the end is left to the next one, not waited for."""
    held = Held(queue)
    outbox = Outbox(table, held, senders=1, waiting=1, sweep_age=0)
    await commit(table, in_one_partition(10))
    async with queue.work("work", [TOPIC], Seen(), concurrency=1):
        async with outbox.sending():
            await until(_grew(held.bodies, 1))
            await asyncio.sleep(0)  # a second one waits for the sender now, and the sweeper for room for a third
            held.gate.set()
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 1.5
    assert await outbox.waiting_count() == 8


async def test_what_is_delivered_is_published_and_removed(table: Table, queue: MemoryQueue) -> None:
    """A delivery returns when the event is published, once; then its row goes, and no row need be there at all."""
    seen, outbox = Seen(), Outbox(table, queue, sweep_seconds=0.001, sweep_age=0.5)
    made = events(3)
    await commit(table, made[:2])
    async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
        for event in made:
            await outbox.deliver(event)
            assert seen.bodies[-1] == event.body
        await emptied(outbox)
    assert seen.bodies == [event.body for event in made]


async def test_what_cannot_be_delivered_is_swept(table: Table, queue: MemoryQueue) -> None:
    """A delivery that fails says why, and leaves the event to the sweeper."""
    held = Held(queue, failing=1)
    held.gate.set()
    seen, outbox = Seen(), Outbox(table, held, sweep_seconds=0.01, sweep_age=0)
    [event] = events(1)
    await commit(table, [event])
    async with queue.work("work", [TOPIC], seen, concurrency=1):
        with pytest.raises(UnavailableError, match="the broker is away"):
            await outbox.deliver(event)
        async with background(outbox.run()):
            await emptied(outbox)
    assert seen.bodies == [event.body]


@pytest.mark.parametrize("gives_up", [False, True], ids=["waits", "gives up"])
async def test_a_delivery_waits_two_seconds(table: Table, queue: MemoryQueue, *, gives_up: bool) -> None:
    """A broker that does not confirm is waited for two seconds, by who waits so long, and the event is swept afterwards."""
    held = Held(queue)
    seen, outbox = Seen(), Outbox(table, held, sweep_seconds=0.01, sweep_age=0)
    [event] = events(1)
    await commit(table, [event])
    began = asyncio.get_running_loop().time()
    async with queue.work("work", [TOPIC], seen, concurrency=1):
        with pytest.raises(TimeoutError if gives_up else UnavailableError):
            async with asyncio.timeout(0.1 if gives_up else PATIENCE):
                await outbox.deliver(event)
        assert gives_up or 2 <= asyncio.get_running_loop().time() - began < 4
        held.gate.set()
        async with background(outbox.run()):
            await emptied(outbox)
    assert seen.bodies == [event.body]


async def test_events_keep_their_trace(table: Table, queue: MemoryQueue) -> None:
    """An event is handled in the trace that it was made in, whether it is sent at once or swept."""
    traces: list[str] = []

    async def handle(_message: Message) -> None:
        traces.append(trace_id())

    for swept in (False, True):
        with continued("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
            made = events(1, moment=EPOCH_MS + 1 + swept)
        await commit(table, made)
        outbox = Outbox(table, queue, sweep_seconds=0.01 if swept else PATIENCE, sweep_age=0 if swept else 1e9)
        async with queue.work("work", [TOPIC], handle, concurrency=1), background(outbox.run()):
            if not swept:
                outbox.send(*made)
            await emptied(outbox)
    assert traces == ["0af7651916cd43dd8448eb211c80319c"] * 2


async def test_rows_of_the_first_release_are_read(table: Table, queue: MemoryQueue) -> None:
    """A row without a trace is sent as it was then."""
    seen, outbox = Seen(), Outbox(table, queue)
    [event] = events(1, moment=EPOCH_MS + 1)
    await table.write(Put(event.key, msgspec.msgpack.encode([TOPIC, b"old", False])))
    async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
        await emptied(outbox)
    assert seen.bodies == [b"old"]


@pytest.mark.parametrize("value", [b"\xc1", b"\x93\xa1\xff\xc4\x00\xc2"], ids=["no value", "no UTF-8"])
async def test_an_event_that_cannot_be_read_stays(table: Table, queue: MemoryQueue, value: bytes) -> None:
    """An event of another release that cannot be read is kept for it, and holds up no other."""
    seen, outbox = Seen(), Outbox(table, queue)
    unreadable, *others = in_one_partition(3)
    await table.write(Put(unreadable.key, value))
    await commit(table, others)
    async with queue.work("work", [TOPIC], seen, concurrency=1), background(outbox.run()):
        await until(_has(seen, others[-1].body))
    assert await table.get(unreadable.key)


def _sees(outbox: Outbox, number: int) -> Callable[[], Awaitable[bool]]:
    async def sees() -> bool:
        return outbox.waiting == number

    return sees


def _grew(found: list[bytes], number: int) -> Callable[[], Awaitable[bool]]:
    async def grew() -> bool:
        return len(found) >= number

    return grew


def _exists(table: Table, key: Key) -> Callable[[], Awaitable[bool]]:
    async def exists() -> bool:
        return await table.get(key) is not None

    return exists
