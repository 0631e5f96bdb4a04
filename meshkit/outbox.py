"""The transactional outbox: events are written with what they tell of, sent after the commit, and swept up after a crash.

Source: Chris Richardson, "Pattern: Transactional outbox" (microservices.io).
"""

import asyncio
import random
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import structlog

from meshkit.buckets import bucket_of
from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.ids import first_id_at, id_bytes, id_from
from meshkit.queue.port import DeadLetteredError, Queue, UnroutableError
from meshkit.table.port import MAX_OPERATIONS, Delete, Existence, Key, Put, Table

_SHARDS = 16
_SWEEP_PAGE = 200
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """An event to be sent: a time-ordered id, the topic and the encoded body. A broadcast may find nobody listening."""

    event_id: int
    topic: str
    body: bytes
    broadcast: bool = False

    @property
    def key(self) -> Key:
        """Where it waits: in one of some partitions, so that no single one takes every write."""
        return Key(b"outbox/%d" % (bucket_of(self.event_id) % _SHARDS), id_bytes(self.event_id))


class _Row(msgspec.Struct, array_like=True):
    topic: str
    body: bytes
    broadcast: bool


def outbox_record(event: Event) -> Put:
    """Make the operation that keeps an event until it is sent."""
    row = msgspec.msgpack.encode(_Row(event.topic, event.body, event.broadcast))
    return Put(event.key, row, condition=Existence.ABSENT)


class Outbox:
    """Sends what a table's outbox holds. Run `run` as long as the service lives, and `send` each event after its commit.

    `senders` is how many work events are under way at once, `waiting` how many may wait in memory for that; the sweeper looks every
    `sweep_seconds` for events older than `sweep_age` seconds.
    """

    def __init__(
        self,
        table: Table,
        queue: Queue,
        *,
        senders: int = 256,
        waiting: int = 20_000,
        sweep_seconds: float = 5.0,
        sweep_age: float = 5.0,
    ) -> None:
        self._table = table
        self._queue = queue
        self._senders = senders
        self._sweep_seconds = sweep_seconds
        self._sweep_age = sweep_age
        self._work: asyncio.Queue[Event] = asyncio.Queue(waiting)
        self._broadcasts: asyncio.Queue[Event] = asyncio.Queue(waiting)
        self._sent: asyncio.Queue[Key] = asyncio.Queue()
        self._under_way: set[int] = set()

    def send(self, *events: Event) -> None:
        """Take committed events to be sent soon. What finds no room is found by the sweeper."""
        for event in events:
            # Work may wait for a service that is away; broadcasts wait for nobody, so work does not stand in their way.
            waiting = self._broadcasts if event.broadcast else self._work
            if event.event_id not in self._under_way and not waiting.full():
                self._under_way.add(event.event_id)
                waiting.put_nowait(event)

    async def run(self) -> NoReturn:
        """Send, remove what was sent, and sweep up what earlier processes left, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._senders):
                tasks.create_task(self._send_all(self._work))
            tasks.create_task(self._send_all(self._broadcasts))
            tasks.create_task(self._remove_sent())
            tasks.create_task(self._sweep())
        raise AssertionError("the outbox's tasks never end by themselves")

    async def _send_all(self, waiting: asyncio.Queue[Event]) -> NoReturn:
        while True:
            event = await waiting.get()
            try:
                await self._queue.publish(event.topic, event.body, mandatory=not event.broadcast)
                self._sent.put_nowait(event.key)
            except (UnroutableError, DeadLetteredError, OverloadedError, UnavailableError) as error:
                _log.warning("event waits for the sweeper", topic=event.topic, event_id=event.event_id, error=str(error))
                self._under_way.discard(event.event_id)

    async def _remove_sent(self) -> None:
        while True:
            keys = [await self._sent.get()]
            while not self._sent.empty() and len(keys) < MAX_OPERATIONS:
                keys.append(self._sent.get_nowait())
            try:
                await self._table.write(*(Delete(key) for key in keys))
            except (OverloadedError, UnavailableError) as error:
                _log.warning("sent events not removed; they will be sent again", count=len(keys), error=str(error))
            self._under_way.difference_update(id_from(key.sort) for key in keys)

    async def _sweep(self) -> None:
        while True:
            try:
                found = sum([await self._sweep_shard(b"outbox/%d" % shard) for shard in random.sample(range(_SHARDS), _SHARDS)])
                if found:
                    _log.warning("events wait in the outbox", count=await self.waiting_count())
            except (OverloadedError, UnavailableError) as error:
                _log.warning("outbox not swept", error=str(error))
            await asyncio.sleep(self._sweep_seconds)

    async def _sweep_shard(self, partition: bytes) -> int:
        found = 0
        start, end = b"", id_bytes(first_id_at(now_ms() - int(self._sweep_age * 1000)))
        while start < end:
            items = await self._table.query(partition, start=start, end=end, limit=_SWEEP_PAGE)
            self.send(*(event for item in items if (event := _event(item.key, item.value))))
            found += len(items)
            if len(items) < _SWEEP_PAGE:
                break
            start = items[-1].key.sort + b"\0"
        return found

    async def waiting_count(self) -> int:
        """Count the events that the table holds unsent, up to 1,000 a shard."""
        return sum([len(await self._table.query(b"outbox/%d" % shard, limit=1_000)) for shard in range(_SHARDS)])


def _event(key: Key, value: bytes) -> Event | None:
    try:
        row = msgspec.msgpack.decode(value, type=_Row)
    except msgspec.DecodeError:
        _log.exception("an event in the outbox cannot be read; it stays there", event_id=id_from(key.sort))
        return None
    return Event(id_from(key.sort), row.topic, row.body, row.broadcast)
