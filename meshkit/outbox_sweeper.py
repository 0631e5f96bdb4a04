"""Finds what waits in an outbox's table: to send it, and to know how much it is."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

import msgspec
import structlog

from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.ids import first_id_at, id_bytes, id_from, time_ms_of
from meshkit.lease import Lease, released
from meshkit.outbox_events import PARTITIONS, Event, event_in
from meshkit.table.port import Item, Key, Table

_PAGE = 200
_COUNTED_PAGE = 1_000
_COUNTED_PAGES = 64  # a look may cost so many queries, and goes on next time
_LEASE = Key(b"outbox-lease", b"sweeper")
_log = structlog.get_logger(__name__)


class Backlog(msgspec.Struct, array_like=True, frozen=True):
    """How many events older than the sweeper's age waited at its last look, and since when: Unix milliseconds, 0 for none."""

    count: int = 0
    oldest_ms: int = 0


class Senders(Protocol):
    """Who sends what the sweeper finds."""

    @property
    def away(self) -> bool:
        """Whether the broker did not answer the last time."""

    async def offer(self, event: Event, until: float) -> bool:
        """Take an event, unless there is no room until a moment of the loop's clock."""


@dataclass(slots=True)
class _Found:
    """What a pass over all partitions found; it is not `complete` when something was left out."""

    count: int = 0
    oldest_ms: int = 0
    complete: bool = True

    def add(self, items: list[Item]) -> None:
        self.count += len(items)
        if items:
            first = min(time_ms_of(id_from(items[0].key.sort)), now_ms())
            self.oldest_ms = min(self.oldest_ms or first, first)


class Sweeper:
    """Looks every `seconds` for events older than `age` seconds. Of those that share a table only the holder of the lease does.

    Ids tell how old events are. Those of before a clock went back are ahead of it: they are old when a look so long ago saw them.
    """

    def __init__(self, table: Table, senders: Senders, *, seconds: float, age: float) -> None:
        self.backlog = Backlog()
        self._table = table
        self._senders = senders
        self._seconds = seconds
        self._age = age
        self._lease = Lease.every(table, _LEASE, seconds)
        self._renewed = 0.0
        self._counted = _Counted(table)
        self._ahead = _Ahead(table, age)
        self._unreadable = False

    async def run(self) -> NoReturn:
        """Sweep until cancelled, then leave the lease to another."""
        async with released(self._lease):
            while True:
                try:
                    if await self._hold():
                        await self._sweep()
                    else:
                        self._note(self._told())
                except (OverloadedError, UnavailableError) as error:
                    _log.warning("outbox not swept", error=str(error))
                await self._lease.pause(self._seconds)

    def removed(self, key: Key) -> None:
        """Take note that an event was sent and is gone."""
        self._counted.removed(key)

    async def _hold(self) -> bool:
        self._renewed = asyncio.get_running_loop().time()
        return await self._lease.hold(msgspec.msgpack.encode(self.backlog))

    def _told(self) -> Backlog:
        """Read what the holder of the lease noted. Another release's note, which cannot be read, counts as nothing."""
        try:
            told = msgspec.msgpack.decode(self._lease.note, type=Backlog) if self._lease.note else Backlog()
        except msgspec.DecodeError:
            if not self._unreadable:
                _log.warning("the sweeper's note cannot be read; how much waits is not known here")
            self._unreadable = True
            return Backlog()
        self._unreadable = False
        return told

    async def _sweep(self) -> None:
        now = now_ms()
        end = id_bytes(first_id_at(now - int(self._age * 1000)))
        until = asyncio.get_running_loop().time() + self._seconds
        found = _Found()
        for partition in random.sample(PARTITIONS, len(PARTITIONS)):
            async for items in self._due(partition, end, now):
                found.add(items)
                if not await self._send(items, until) or not await self._still_held():
                    found.complete = False
                    break
        if found.complete:
            self._counted.forget()
        else:
            found.count = max(found.count, await self._counted.look(end))
        self._note(Backlog(found.count, found.oldest_ms))

    async def _due(self, partition: bytes, end: bytes, now: int) -> AsyncIterator[list[Item]]:
        """Give a partition's items below a sort key, then those ahead of the clock that are old; no page is empty."""
        async for items in _pages(self._table, partition, end, _PAGE):
            yield items
        start = id_bytes(first_id_at(now))
        async for items in _pages(self._table, partition, await self._ahead.end(partition, start), _PAGE, start):
            yield items

    async def _send(self, items: list[Item], until: float) -> bool:
        for item in items:
            event = event_in(item)
            if event and not await self._senders.offer(event, until):
                return False
            if event and self._senders.away:
                return False  # one of each partition is enough to find out when the broker is back
        return True

    async def _still_held(self) -> bool:
        """Renew the lease in the middle of a long sweep."""
        return asyncio.get_running_loop().time() - self._renewed < self._seconds or await self._hold()

    def _note(self, backlog: Backlog) -> None:
        before, self.backlog = self.backlog, backlog
        if backlog.count and not before.count:
            seconds = (now_ms() - backlog.oldest_ms) / 1000
            _log.warning("events wait in the outbox", count=backlog.count, oldest_seconds=round(seconds, 1))
        elif before.count and not backlog.count:
            _log.info("the outbox is empty again")


class _Look(NamedTuple):
    """What was ahead of the clock in a partition when it was looked at: the end of it, and of what had been there a look before."""

    end: bytes
    old: bytes
    moment: float


class _Ahead:
    """Knows which of the events that are ahead of the clock are older than `age` seconds. As a rule there are none at all."""

    def __init__(self, table: Table, age: float) -> None:
        self._table = table
        self._age = age
        self._looks: dict[bytes, _Look] = {}

    async def end(self, partition: bytes, start: bytes) -> bytes:
        """Give the end of the old ones, where a partition's events from a sort key on are ahead."""
        now = asyncio.get_running_loop().time()
        look = self._looks.get(partition)
        if look is None or now - look.moment >= self._age:
            newest = await self._table.query(partition, start=start, limit=1, reverse=True)
            look = _Look(newest[0].key.sort + b"\0" if newest else b"", look.end if look else b"", now)
            self._looks[partition] = look
        return look.old


class _Counted:
    """Counts a backlog too large to be sent at once: only what came since the last look is read, what was sent is taken off."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._count = 0
        self._ends: dict[bytes, bytes] = {}

    def forget(self) -> None:
        """Begin anew."""
        self._count = 0
        self._ends.clear()

    def removed(self, key: Key) -> None:
        """Take an event off that was counted."""
        if key.sort < self._ends.get(key.partition, b""):
            self._count -= 1

    async def look(self, end: bytes) -> int:
        """Go on counting up to a sort key, and give what was counted so far."""
        pages = 0
        for partition in PARTITIONS:
            async for items in _pages(self._table, partition, end, _COUNTED_PAGE, self._ends.get(partition, b"")):
                self._count += len(items)
                self._ends[partition] = items[-1].key.sort + b"\0"
                pages += 1
                if pages >= _COUNTED_PAGES:
                    return self._count
        return self._count


async def _pages(table: Table, partition: bytes, end: bytes, size: int, start: bytes = b"") -> AsyncIterator[list[Item]]:
    """Give a partition's items below a sort key, page by page; no page is empty."""
    while start < end:
        items = await table.query(partition, start=start, end=end, limit=size)
        if items:
            yield items
        if len(items) < size:
            return
        start = items[-1].key.sort + b"\0"
