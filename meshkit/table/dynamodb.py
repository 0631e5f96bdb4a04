"""The table on DynamoDB, or on a server that speaks its protocol.

Every read is strongly consistent, but a read of several items is not one moment: of a write made meanwhile it may see a part. Items
expire by the clocks of the processes that look at them, and to the full second.

A single operation whose answer was lost is not sent again, as it may have been done: its caller gets `UnavailableError`, and
repeats the request under its `request_id`. Writes of several operations are sent until they are answered.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from meshkit.aws import TableUrl, find_service
from meshkit.table.dynamodb_lane import Lane
from meshkit.table.dynamodb_range import key_condition
from meshkit.table.dynamodb_reads import Gets, Range, Source, open_gets, query
from meshkit.table.dynamodb_schema import prepare
from meshkit.table.dynamodb_wire import open_wire
from meshkit.table.dynamodb_writes import Writer
from meshkit.table.limits import check_count, check_keys, check_operations, check_partition
from meshkit.table.port import Item, Key, Operation, Put, Row

# Connections: what there is most of never keeps the rest from the server.
GETS_WIDTH, QUERIES_WIDTH, WRITES_WIDTH = 16, 16, 32
# What can be done within half the deadline by a server that takes its time: 50 ms for each call of two writes or 100 keys.
DEFAULT_BACKLOG = 3_000
DEFAULT_KEYS_BACKLOG = 20_000
# Callers wait 10 s at most, and a call of theirs may need more than one of ours.
DEFAULT_DEADLINE = 5.0
COST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class DynamoDbStats:
    """What a table does, for operators. `keys / batches` tells how well gets group."""

    keys: int
    batches: int
    unanswered_keys: int
    under_way: int


@asynccontextmanager
async def open_dynamodb(
    url: TableUrl,
    *,
    deadline: float = DEFAULT_DEADLINE,
    backlog: int = DEFAULT_BACKLOG,
    keys_backlog: int = DEFAULT_KEYS_BACKLOG,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator["DynamoDbTable"]:
    """Open a table, making it when it is missing, and close it with the context: what is under way is given up.

    `deadline` is for each call, in seconds. `backlog` bounds the queries under way, and apart from them the writes: each operation
    counts one, and one more for every 4 KiB of value. `keys_backlog` bounds the keys that wait for their item. Gets, queries and
    writes have connections of their own, and are refused when they wait for one for half the deadline. `clock` gives Unix seconds,
    by which items expire.

    Raises:
        UnavailableError: there are no credentials, or the table cannot be reached, made, or used.

    """
    service = await find_service("dynamodb", url.access)
    async with open_wire(service, connections=GETS_WIDTH + QUERIES_WIDTH + WRITES_WIDTH) as wire:
        gets_lane = Lane(wire, GETS_WIDTH, keys_backlog)
        queries_lane = Lane(wire, QUERIES_WIDTH, backlog)
        writes_lane = Lane(wire, WRITES_WIDTH, backlog)
        await prepare(writes_lane, url.table)
        async with open_gets(Source(gets_lane, url.table, deadline, clock)) as gets:
            yield DynamoDbTable(
                gets, Source(queries_lane, url.table, deadline, clock), Writer(writes_lane, url.table, deadline, clock)
            )


class DynamoDbTable:
    """A `meshkit.table.port.Table` on DynamoDB. See `open_dynamodb`.

    A write whose caller is cancelled, or got `UnavailableError`, may still have been done.
    """

    def __init__(self, gets: Gets, queries: Source, writer: Writer) -> None:
        self._gets = gets
        self._queries = queries
        self._writer = writer

    @property
    def stats(self) -> DynamoDbStats:
        """What was done so far, and what waits."""
        under_way = self._queries.lane.taken + self._writer.lane.taken
        return DynamoDbStats(self._gets.keys, self._gets.batches, self._gets.unanswered, under_way)

    async def get(self, key: Key) -> Item | None:
        """Give an item, or None."""
        return (await self.get_many((key,))).get(key)

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Give those of the items that exist."""
        wanted = dict.fromkeys(keys)
        check_keys(wanted)
        return await self._gets.get(wanted) if wanted else {}

    async def query(
        self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int, reverse: bool = False
    ) -> list[Item]:
        """Give items of a partition in order."""
        check_partition(partition)
        check_count(limit)
        between = key_condition(partition, start, end)
        if between is None:
            return []
        condition, values = between
        wanted = Range(KeyConditionExpression=condition, ExpressionAttributeValues=values, ScanIndexForward=not reverse)
        with self._queries.lane.room(1):
            return await query(self._queries, wanted, end, limit)

    async def rows(self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int) -> list[Row]:
        """Give sort keys and values of a partition in order."""
        return [(item.key.sort, item.value) for item in await self.query(partition, start=start, end=end, limit=limit)]

    async def write(self, *operations: Operation) -> None:
        """Do operations on different items, all or nothing; durable when it returns."""
        check_operations(operations)
        with self._writer.lane.room(sum(map(_cost, operations))):
            await self._writer.write(operations)


def _cost(operation: Operation) -> int:
    return 1 + len(operation.value) // COST_BYTES if isinstance(operation, Put) else 1
