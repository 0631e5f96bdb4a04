"""Reading: single gets of many callers share batches, and a range is paged until it is full.

A call costs the same CPU for one key as for dozens. What is asked for within a turn of the event loop goes out together; while as
many batches as allowed are under way, the next ones fill. A batch that pauses makes room: a partition without capacity holds up
those who read from it, and nobody else.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import msgspec

from meshkit.errors import FeedmeshError, UnavailableError
from meshkit.table.dynamodb_effort import Effort, effort, insist, unusable
from meshkit.table.dynamodb_items import Row, RowKey, Value, is_live, item_of, key_of, row_key
from meshkit.table.dynamodb_lane import Lane
from meshkit.table.dynamodb_wire import RefusedError
from meshkit.table.port import Item, Key

BATCH_KEYS = 100
BATCHES_UNDER_WAY = 8
PAGE_ITEMS = 1000
_NO_ROOM = "ProvisionedThroughputExceededException"


class _Unprocessed(msgspec.Struct, frozen=True):
    keys: list[RowKey] = msgspec.field(name="Keys")


class _Batch(msgspec.Struct, frozen=True):
    found: dict[str, list[Row]] = msgspec.field(name="Responses", default_factory=dict)
    unprocessed: dict[str, _Unprocessed] = msgspec.field(name="UnprocessedKeys", default_factory=dict)


class _Page(msgspec.Struct, frozen=True):
    rows: list[Row] = msgspec.field(name="Items", default_factory=list)
    last: RowKey | None = msgspec.field(name="LastEvaluatedKey", default=None)


@dataclass(frozen=True, slots=True)
class Source:
    """What is read, with a deadline in seconds and a clock in Unix seconds."""

    lane: Lane
    table: str
    deadline: float
    clock: Callable[[], float]


@asynccontextmanager
async def open_gets(source: Source) -> AsyncIterator["Gets"]:
    """Serve gets for the length of a block; what is under way at its end is given up."""
    gets = Gets(source)
    try:
        yield gets
    finally:
        await gets.close()


class Gets:
    """Gets by key. `keys` and `batches` count since the start: their ratio tells how well gets group."""

    def __init__(self, source: Source) -> None:
        self.keys = 0
        self.batches = 0
        self._source = source
        self._waiting: dict[Key, asyncio.Future[Item | None]] = {}
        self._batches: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._turn: asyncio.Handle | None = None

    @property
    def unanswered(self) -> int:
        """How many keys were asked for and have no answer yet."""
        return self._source.lane.taken

    async def get(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Give those of the items that exist.

        Raises:
            OverloadedError: too many keys wait already, or the table has no room.
            UnavailableError: there was no answer in time.

        """
        self._source.lane.check()
        wanted = {key: self._want(key) for key in keys}
        # Waiting this way cancels nothing: others may wait for the same keys.
        _, late = await asyncio.wait(wanted.values(), timeout=self._source.deadline)
        if late:
            raise UnavailableError("the table does not answer; try again", reason="TABLE_TIMEOUT")
        for answer in wanted.values():
            if isinstance(error := answer.exception(), FeedmeshError):
                raise type(error)(error.message, reason=error.reason)  # each its own: others get the same answer
        found = {key: answer.result() for key, answer in wanted.items()}
        return {key: item for key, item in found.items() if item}

    async def close(self) -> None:
        """Give up what is under way and what waits."""
        if self._turn:
            self._turn.cancel()
        _fail(self._waiting.values(), UnavailableError("the table is closed", reason="TABLE_CLOSED"))
        self._waiting.clear()
        for task in self._batches:
            task.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)

    def _want(self, key: Key) -> asyncio.Future[Item | None]:
        """Have a key read by the next batch. Who asks while a batch is under way may know of newer writes than that will see."""
        if answer := self._waiting.get(key):
            return answer
        loop = asyncio.get_running_loop()
        answer = self._waiting[key] = loop.create_future()
        self._source.lane.taken += 1
        if self._turn is None and self._under_way < BATCHES_UNDER_WAY:
            self._turn = loop.call_soon(self._send)
        return answer

    def _send(self) -> None:
        self._turn = None
        while self._waiting and self._under_way < BATCHES_UNDER_WAY:
            keys = [key for key, _ in zip(self._waiting, range(BATCH_KEYS), strict=False)]
            batch = {key: self._waiting.pop(key) for key in keys}
            self.keys, self.batches = self.keys + len(batch), self.batches + 1
            self._under_way += 1
            task = asyncio.ensure_future(self._answer(batch))
            self._batches.add(task)
            task.add_done_callback(partial(self._ended, len(batch)))

    def _ended(self, keys: int, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._source.lane.taken -= keys
        self._under_way -= 1
        if not task.cancelled():
            self._send()

    @contextmanager
    def _resting(self) -> Iterator[None]:
        self._under_way -= 1
        self._send()
        try:
            yield
        finally:
            self._under_way += 1

    async def _answer(self, batch: dict[Key, asyncio.Future[Item | None]]) -> None:
        try:
            # Half the time, as the keys may have waited for as long: so they still hear what was wrong.
            async with effort(self._source.deadline / 2, self._resting) as attempts:
                await self._read(batch, attempts)
        except RefusedError as refusal:
            _fail(batch.values(), unusable(refusal, "BatchGetItem"))
        except FeedmeshError as error:
            _fail(batch.values(), error)
        except asyncio.CancelledError:
            _fail(batch.values(), UnavailableError("the table is closed", reason="TABLE_CLOSED"))
            raise
        finally:  # of an error that nobody foresaw, which the loop reports
            _fail(batch.values(), UnavailableError("the table could not do it; try again", reason="TABLE_FAILED"))

    async def _read(self, batch: dict[Key, asyncio.Future[Item | None]], attempts: Effort) -> None:
        """Read until every key has its answer; what was left out is asked for again, alone."""
        keys = list(batch)
        while True:
            answer = await insist(self._source.lane, attempts, "BatchGetItem", self._request(keys), _Batch, repeatable=True)
            table = self._source.table
            left = [key_of(key) for key in answer.unprocessed[table].keys] if table in answer.unprocessed else []
            self._settle(batch, answer.found.get(table, []), set(keys).difference(left))
            if not left:
                return
            keys = left
            await attempts.pause(_NO_ROOM, f"{len(left)} keys left unprocessed")

    def _request(self, keys: Iterable[Key]) -> dict[str, object]:
        return {"RequestItems": {self._source.table: {"Keys": [row_key(key) for key in keys], "ConsistentRead": True}}}

    def _settle(self, batch: dict[Key, asyncio.Future[Item | None]], rows: list[Row], read: set[Key]) -> None:
        now = self._source.clock()
        items = {key_of(row): item_of(row) for row in rows if is_live(row, now)}
        for key in read:
            batch[key].set_result(items.get(key))


class Range(TypedDict):
    """What a query asks for, besides its limit: see `dynamodb_range.key_condition`."""

    KeyConditionExpression: str
    ExpressionAttributeValues: dict[str, Value]
    ScanIndexForward: bool


async def query(source: Source, wanted: Range, end: bytes | None, limit: int) -> list[Item]:
    """Give up to `limit` items before the end, in order. Pages grow where expired items are in the way."""
    request: dict[str, object] = {"TableName": source.table, "ConsistentRead": True, **wanted}
    found: list[Item] = []
    # Backwards, the first may be the one at the end.
    size = limit if wanted["ScanIndexForward"] or end is None else limit + 1
    async with effort(source.deadline) as attempts:
        while True:
            request["Limit"] = size = min(size, PAGE_ITEMS)
            try:
                page = await insist(source.lane, attempts, "Query", request, _Page, repeatable=True)
            except RefusedError as refusal:
                raise unusable(refusal, "Query") from None
            now = source.clock()
            live = [row for row in page.rows if is_live(row, now)]
            found += [item_of(row) for row in live if end is None or row.sort.value < end]
            if page.last is None or len(found) >= limit:
                return found[:limit]
            request["ExclusiveStartKey"] = row_key(key_of(page.last))
            size = limit - len(found)
            if len(live) < len(page.rows):
                size = max(size, 2 * len(page.rows))


def _fail(answers: Iterable[asyncio.Future[Item | None]], error: FeedmeshError) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # that nobody waits any more is no reason to complain
