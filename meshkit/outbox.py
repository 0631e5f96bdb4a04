"""The transactional outbox: events are written with what they tell of, sent after the commit, and swept up after a crash.

Source: Chris Richardson, "Pattern: Transactional outbox" (microservices.io).
"""

import asyncio
from typing import NoReturn

import structlog

from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.ids import id_from
from meshkit.outbox_events import PARTITIONS, Event, outbox_record
from meshkit.outbox_sweeper import Sweeper
from meshkit.queue.port import DeadLetteredError, Queue, UnroutableError
from meshkit.table.port import MAX_OPERATIONS, Delete, Key, Put, Table
from meshkit.tracing import continued

__all__ = ["Event", "Outbox"]

_log = structlog.get_logger(__name__)


class Outbox:
    """Sends what a table's outbox holds. Run `run` as long as the service lives, and `send` each event after its commit.

    `senders` is how many work events are under way at once, `waiting` how many may wait in memory for that; the sweeper looks every
    `sweep_seconds` for events older than `sweep_age` seconds. From `limit` events in the table on, `record` refuses more.

    Several processes may share a table. Each sends what it committed; one of them at a time sweeps.
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
        limit: int = 1_000_000,
    ) -> None:
        self._table = table
        self._queue = queue
        self._senders = senders
        self._limit = limit
        self._work: asyncio.Queue[Event] = asyncio.Queue(waiting)
        self._broadcasts: asyncio.Queue[Event] = asyncio.Queue(waiting)
        self._sent: asyncio.Queue[Key] = asyncio.Queue()
        self._under_way: set[int] = set()
        self._failing: dict[str, str] = {}
        self._away = False
        self._sweeper = Sweeper(table, self, seconds=sweep_seconds, age=sweep_age)

    @property
    def waiting(self) -> int:
        """How many events waited at the sweeper's last look, whichever process looked; those younger than its age do not count."""
        return self._sweeper.backlog.count

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest of them has been waiting."""
        oldest = self._sweeper.backlog.oldest_ms
        return max(0.0, (now_ms() - oldest) / 1000) if oldest else 0.0

    @property
    def away(self) -> bool:
        """Whether the broker did not answer the last time."""
        return self._away

    def record(self, event: Event) -> Put:
        """Make the operation that keeps an event until it is sent. Raises OverloadedError when too many wait already."""
        if self.waiting >= self._limit:
            raise OverloadedError("too many events wait to be sent; try again later", reason="OUTBOX_FULL")
        return outbox_record(event)

    def send(self, *events: Event) -> None:
        """Take committed events to be sent soon. What finds no room is found by the sweeper."""
        for event in events:
            waiting = self._waiting_for(event)
            if event.event_id not in self._under_way and not waiting.full():
                self._under_way.add(event.event_id)
                waiting.put_nowait(event)

    async def offer(self, event: Event, until: float) -> bool:
        """Take an event that the sweeper found, if there is room until a moment of the loop's clock."""
        if event.event_id in self._under_way:
            return True
        self._under_way.add(event.event_id)
        try:
            async with asyncio.timeout_at(until):
                await self._waiting_for(event).put(event)
        except TimeoutError:
            self._under_way.discard(event.event_id)
            return False
        return True

    async def run(self) -> NoReturn:
        """Send, remove what was sent, and sweep up what earlier processes left, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._senders):
                tasks.create_task(self._send_all(self._work))
            tasks.create_task(self._send_all(self._broadcasts))
            tasks.create_task(self._remove_sent())
            tasks.create_task(self._sweeper.run())
        raise AssertionError("the outbox's tasks never end by themselves")

    async def waiting_count(self) -> int:
        """Count the events that the table holds unsent, young ones too, up to 1,000 a shard."""
        return sum([len(await self._table.query(partition, limit=1_000)) for partition in PARTITIONS])

    def _waiting_for(self, event: Event) -> asyncio.Queue[Event]:
        # Work may wait for a service that is away; broadcasts wait for nobody, so work does not stand in their way.
        return self._broadcasts if event.broadcast else self._work

    async def _send_all(self, waiting: asyncio.Queue[Event]) -> NoReturn:
        while True:
            event = await waiting.get()
            try:
                with continued(event.traceparent):
                    await self._queue.publish(event.topic, event.body, mandatory=not event.broadcast)
            except (UnroutableError, DeadLetteredError, OverloadedError, UnavailableError) as error:
                self._under_way.discard(event.event_id)
                self._failed(event, error)
            else:
                self._sent.put_nowait(event.key)
                self._succeeded(event)

    def _failed(self, event: Event, error: Exception) -> None:
        self._away = isinstance(error, UnavailableError)
        # While a broker is away hundreds fail each second, all alike.
        log = _log.debug if self._failing.get(event.topic) == type(error).__name__ else _log.warning
        log("event waits for the sweeper", topic=event.topic, event_id=event.event_id, error=str(error))
        self._failing[event.topic] = type(error).__name__

    def _succeeded(self, event: Event) -> None:
        self._away = False
        if self._failing.pop(event.topic, None):
            _log.info("events are sent again", topic=event.topic)

    async def _remove_sent(self) -> None:
        while True:
            keys = [await self._sent.get()]
            while not self._sent.empty() and len(keys) < MAX_OPERATIONS:
                keys.append(self._sent.get_nowait())
            try:
                await self._table.write(*(Delete(key) for key in keys))
            except (OverloadedError, UnavailableError) as error:
                _log.warning("sent events not removed; they will be sent again", count=len(keys), error=str(error))
            for key in keys:
                self._under_way.discard(id_from(key.sort))
                self._sweeper.removed(key)
