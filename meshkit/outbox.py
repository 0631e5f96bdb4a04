"""The transactional outbox: events are written with what they tell of, sent after the commit, and swept up after a crash.

Source: Chris Richardson, "Pattern: Transactional outbox" (microservices.io).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import structlog

from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.ids import id_from
from meshkit.lifecycle import background
from meshkit.outbox_events import PARTITIONS, Event, outbox_record
from meshkit.outbox_sweeper import Sweeper
from meshkit.queue.port import DeadLetteredError, Queue, UnroutableError
from meshkit.table.port import MAX_OPERATIONS, Delete, Key, Put, Table
from meshkit.tracing import continued

__all__ = ["Event", "Outbox"]

_DRAIN_SECONDS = 5.0
_STALLED_SECONDS = 2.0  # what does not get on for so long waits for a service that is away
_DELIVER_SECONDS = 2.0
_GATHER_SECONDS = 0.02  # so that one write removes many events
_NOT_PUBLISHED = (UnroutableError, DeadLetteredError, OverloadedError, UnavailableError)
_log = structlog.get_logger(__name__)


class Outbox:
    """Sends what a table's outbox holds. Live in `sending` as long as the service does, and `send` each event after its commit.

    `senders` is how many work events are under way at once, `broadcasters` how many broadcasts, which may so arrive in any order;
    `waiting` is how many of each may wait in memory for that. The sweeper looks every `sweep_seconds` for events older than
    `sweep_age` seconds. From `limit` events in the table on, `record` refuses more.

    Several processes of one service may share a table. Each sends what it committed; one of them at a time sweeps. Two services
    may not: the rows do not name their service, so that their events and their limits would be one.
    """

    def __init__(
        self,
        table: Table,
        queue: Queue,
        *,
        senders: int = 256,
        broadcasters: int = 16,
        waiting: int = 20_000,
        sweep_seconds: float = 5.0,
        sweep_age: float = 5.0,
        limit: int = 1_000_000,
    ) -> None:
        self._table = table
        self._queue = queue
        self._senders = senders
        self._broadcasters = broadcasters
        self._limit = limit
        self._work: asyncio.Queue[Event] = asyncio.Queue(waiting)
        self._broadcasts: asyncio.Queue[Event] = asyncio.Queue(waiting)
        self._sent: asyncio.Queue[Key] = asyncio.Queue()
        self._under_way: set[int] = set()
        self._settled = asyncio.Event()
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

    async def deliver(self, event: Event) -> None:
        """Publish a committed event while its caller waits, instead of `send`. What fails is left to the sweeper.

        Raises:
            UnavailableError: it may not be published; known within 2 seconds.
            OverloadedError, UnroutableError, DeadLetteredError: it is not, as the queue says.

        """
        self._under_way.add(event.event_id)
        try:
            async with asyncio.timeout(_DELIVER_SECONDS):
                await self._publish(event)
        except TimeoutError as error:
            raise UnavailableError("the broker did not confirm in time; try again", reason="QUEUE_UNAVAILABLE") from error

    async def offer(self, event: Event, until: float) -> bool:
        """Take an event that the sweeper found, if there is room until a moment of the loop's clock."""
        if event.event_id in self._under_way:
            return True
        self._under_way.add(event.event_id)
        try:
            async with asyncio.timeout_at(until):
                await self._waiting_for(event).put(event)
        except TimeoutError:
            self._settle(event.event_id)
            return False
        except asyncio.CancelledError:
            self._settle(event.event_id)
            raise
        return True

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send beside a block, remove what was sent, and sweep up what earlier processes left.

        When the block ends in order, the sweeper stops, and what is under way is sent and removed: for 5 s at most, for 2 s when
        nothing gets on, and not while the broker is away. Whatever commits events has to end before.
        """
        work = [self._send_all(self._work) for _ in range(self._senders)]
        broadcasts = [self._send_all(self._broadcasts) for _ in range(self._broadcasters)]
        async with background(*work, *broadcasts, self._remove_sent()):
            async with background(self._sweeper.run()):
                yield
            await self._drain()

    async def run(self) -> NoReturn:
        """Do the same until cancelled; what is under way then is left to a sweeper."""
        async with self.sending():
            await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")

    async def waiting_count(self) -> int:
        """Count the events that the table holds unsent, young ones too, up to 1,000 a shard."""
        return sum([len(await self._table.query(partition, limit=1_000)) for partition in PARTITIONS])

    def _waiting_for(self, event: Event) -> asyncio.Queue[Event]:
        # Work may wait for a service that is away; broadcasts wait for nobody, so work does not stand in their way.
        return self._broadcasts if event.broadcast else self._work

    async def _send_all(self, waiting: asyncio.Queue[Event]) -> NoReturn:
        while True:
            with contextlib.suppress(*_NOT_PUBLISHED):
                await self._publish(await waiting.get())

    async def _publish(self, event: Event) -> None:
        """Publish an event and have it removed, or raise why it stays."""
        try:
            with continued(event.traceparent):
                await self._queue.publish(event.topic, event.body, mandatory=not event.broadcast, together=not event.broadcast)
        except BaseException as error:
            if isinstance(error, _NOT_PUBLISHED):
                self._failed(event, error)
            self._settle(event.event_id)
            raise
        self._sent.put_nowait(event.key)
        self._succeeded(event)

    def _settle(self, event_id: int) -> None:
        self._under_way.discard(event_id)
        self._settled.set()

    async def _drain(self) -> None:
        """Wait until nothing is under way, unless it gets on no more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._under_way and not self._away:
                    self._settled.clear()
                    async with asyncio.timeout(_STALLED_SECONDS):
                        await self._settled.wait()

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
            if self._sent.qsize() < MAX_OPERATIONS - 1:
                await asyncio.sleep(_GATHER_SECONDS)
            while not self._sent.empty() and len(keys) < MAX_OPERATIONS:
                keys.append(self._sent.get_nowait())
            try:
                await self._table.write(*(Delete(key) for key in keys))
            except (OverloadedError, UnavailableError) as error:
                _log.warning("sent events not removed; they will be sent again", count=len(keys), error=str(error))
            for key in keys:
                self._settle(id_from(key.sort))
                self._sweeper.removed(key)
