"""The embedded table: one SQLite file, for a mesh that runs on one machine.

One thread writes, one thread reads, each with its own connection; both serve everything that waits in one transaction. The file is
in WAL mode with full synchronisation, so that an acknowledged write survives a crash of the process and of the machine.

The threads take turns with the event loop on the interpreter's lock. A process whose loop may be busy all the time has to set
`sys.setswitchinterval` to about 50 microseconds: with the default, a loop that often releases the lock for moments only (uvloop
does) can keep the threads waiting for seconds.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from meshkit.errors import UnavailableError
from meshkit.table import sqlite_statements as statements
from meshkit.table.limits import check_count, check_keys, check_operations, check_partition
from meshkit.table.port import Item, Key, Operation, Put, Row
from meshkit.table.sqlite_lane import Lane, LaneSettings, open_lane

COST_BYTES = 4096
MAX_BATCH_COST = 2_000
DEFAULT_BACKLOG = 20_000
DEFAULT_DEADLINE = 5.0
_MAX_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class SqliteStats:
    """What a table did since it was opened, for operators. `writes / commits` tells how well writes group."""

    writes: int
    commits: int
    reads: int
    snapshots: int
    waiting_writes: int
    waiting_reads: int


@contextlib.asynccontextmanager
async def open_sqlite(
    path: Path,
    *,
    deadline: float = DEFAULT_DEADLINE,
    backlog: int = DEFAULT_BACKLOG,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator["SqliteTable"]:
    """Open a table, making file and folder when they are missing, and close it with the context: what waits is still done.

    `deadline` is for each call, in seconds. `backlog` bounds what may wait, for reads and for writes: each operation or key counts
    one, and one more for every 4 KiB of value. `clock` gives Unix seconds, by which items expire.

    Raises:
        UnavailableError: the file cannot be opened, or is not a table that this release knows.

    """
    reading, writing = await asyncio.to_thread(_open_connections, path, deadline)
    try:
        reader = open_lane(f"{path.name}-read", reading, LaneSettings("BEGIN", backlog, MAX_BATCH_COST, deadline, clock), _nothing)
        writer = open_lane(
            f"{path.name}-write",
            writing,
            LaneSettings("BEGIN IMMEDIATE", backlog, MAX_BATCH_COST, deadline, clock),
            statements.purge,
        )
        async with reader as read_lane, writer as write_lane:
            yield SqliteTable(read_lane, write_lane)
    finally:
        await asyncio.to_thread(_close_connections, reading, writing)


class SqliteTable:
    """A `meshkit.table.port.Table` in an SQLite file. See `open_sqlite`.

    A write whose caller is cancelled, or got `UnavailableError` for the deadline, may still have been done.
    """

    def __init__(self, reader: Lane, writer: Lane) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def stats(self) -> SqliteStats:
        """What was done so far."""
        reader, writer = self._reader, self._writer
        return SqliteStats(writer.done, writer.transactions, reader.done, reader.transactions, writer.waiting, reader.waiting)

    async def get(self, key: Key) -> Item | None:
        """Give an item, or None."""
        check_keys((key,))
        return await self._reader.do(partial(statements.get, key), 1)

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Give those of the items that exist, as of one moment."""
        wanted = dict.fromkeys(keys)
        check_keys(wanted)
        if not wanted:
            return {}
        return await self._reader.do(partial(statements.get_many, wanted), len(wanted))

    async def query(
        self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int, reverse: bool = False
    ) -> list[Item]:
        """Give items of a partition in order, as of one moment."""
        check_partition(partition)
        check_count(limit)
        wanted = statements.Range(partition, start, end, min(limit, _MAX_LIMIT), reverse)
        return await self._reader.do(partial(statements.query, wanted), 1)

    async def rows(self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int) -> list[Row]:
        """Give sort keys and values of a partition in order, as of one moment."""
        check_partition(partition)
        check_count(limit)
        wanted = statements.Range(partition, start, end, min(limit, _MAX_LIMIT), reverse=False)
        return await self._reader.do(partial(statements.rows, wanted), 1)

    async def write(self, *operations: Operation) -> None:
        """Do operations on different items, all or nothing; on the disk when it returns."""
        check_operations(operations)
        await self._writer.do(partial(statements.write, operations), sum(map(_cost, operations)))


def _cost(operation: Operation) -> int:
    return 1 + len(operation.value) // COST_BYTES if isinstance(operation, Put) else 1


def _nothing(_connection: sqlite3.Connection, _now: float, _jobs: int) -> None:
    """Readers have nothing to add to their transaction."""


def _open_connections(path: Path, busy_timeout: float) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as on_failure:
            writing = on_failure.enter_context(contextlib.closing(statements.connect(path, busy_timeout=busy_timeout)))
            statements.prepare(writing)
            reading = statements.connect(path, busy_timeout=busy_timeout)
            on_failure.pop_all()
            return reading, writing
    except (sqlite3.Error, OSError) as error:
        raise UnavailableError(f"the table {path} cannot be opened: {error}", reason="TABLE_UNUSABLE") from error


def _close_connections(reading: sqlite3.Connection, writing: sqlite3.Connection) -> None:
    """Close both. SQLite folds the write-ahead log into the file when the last one goes."""
    reading.close()
    writing.close()
