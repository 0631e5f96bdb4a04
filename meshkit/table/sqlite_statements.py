"""What a table does, in SQL: a few fixed statements, each prepared once per connection."""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from meshkit.table.limits import check_number
from meshkit.table.port import (
    Add,
    AtVersion,
    Condition,
    ConditionFailedError,
    Delete,
    Existence,
    Item,
    Key,
    Operation,
    Put,
    Row,
)

FORMAT = 1
PURGE_AT_LEAST = 100
# A write of each size is a statement of its own.
_CACHED_STATEMENTS = 512

_SCHEMA = """
CREATE TABLE items (
  partition BLOB NOT NULL,
  sort BLOB NOT NULL,
  value BLOB NOT NULL,
  number INTEGER NOT NULL,
  version INTEGER NOT NULL,
  expires_at REAL,
  PRIMARY KEY (partition, sort)
) WITHOUT ROWID;
CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;
"""
_LIVE = "(expires_at IS NULL OR expires_at > ?)"
_GET = f"SELECT value, number, version FROM items WHERE partition = ? AND sort = ? AND {_LIVE}"  # noqa: S608  # constants only
_WITHIN = f" FROM items WHERE partition = ? AND sort >= ? AND {_LIVE}"
_ITEMS = "SELECT sort, value, number, version" + _WITHIN
_ROWS = "SELECT sort, value" + _WITHIN
_BEFORE = " AND sort < ?"
_UPWARDS = " ORDER BY sort LIMIT ?"
_DOWNWARDS = " ORDER BY sort DESC LIMIT ?"
# Terms, not a list of keys: for that SQLite would read the whole table.
_THIS = "(partition = ? AND sort = ?)"
_STATES = f"SELECT partition, sort, number, version FROM items WHERE {_LIVE} AND ({{}})"  # noqa: S608
_PUT = """
INSERT INTO items VALUES {}
ON CONFLICT DO UPDATE SET value = excluded.value, number = 0, version = version + 1, expires_at = excluded.expires_at
"""
_ROW = "(?, ?, ?, 0, 1, ?)"
_DELETE = "DELETE FROM items WHERE {}"
_COUNT = "UPDATE items SET number = ?, version = version + 1 WHERE partition = ? AND sort = ?"
# An expired item may still be there: the new one takes its place.
_START_COUNT = "INSERT OR REPLACE INTO items VALUES (?, ?, x'', ?, 1, NULL)"
_PURGE = """
DELETE FROM items WHERE (partition, sort) IN (SELECT partition, sort FROM items WHERE expires_at <= ? LIMIT ?)
"""


def connect(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """Open a connection that any one thread at a time may use. Its commits are on the disk when they return."""
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
    )
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -32768")  # KiB
        on_failure.pop_all()
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Make the table in a new file.

    Raises:
        sqlite3.DatabaseError: the file is of another format.

    """
    connection.execute("BEGIN IMMEDIATE")
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in {0, FORMAT}:
        raise sqlite3.DatabaseError(f"the file has format {found}, and this release knows {FORMAT}")
    if not found:
        for statement in (*_SCHEMA.split(";"), f"PRAGMA user_version = {FORMAT}"):
            connection.execute(statement)
    connection.execute("COMMIT")


def get(key: Key, connection: sqlite3.Connection, now: float) -> Item | None:
    """Give an item, or None."""
    row = connection.execute(_GET, (*key, now)).fetchone()
    return Item(key, *row) if row else None


def get_many(keys: Iterable[Key], connection: sqlite3.Connection, now: float) -> dict[Key, Item]:
    """Give those of the items that exist, all as of one moment."""
    found = (get(key, connection, now) for key in keys)
    return {item.key: item for item in found if item}


class Range(NamedTuple):
    """A query: up to `limit` items of a partition with start <= sort key < end."""

    partition: bytes
    start: bytes
    end: bytes | None
    limit: int
    reverse: bool


def query(wanted: Range, connection: sqlite3.Connection, now: float) -> list[Item]:
    """Give the items of a range in order."""
    found = _select(_ITEMS, wanted, connection, now)
    return [Item(Key(wanted.partition, sort), value, number, version) for sort, value, number, version in found]


def rows(wanted: Range, connection: sqlite3.Connection, now: float) -> list[Row]:
    """Give the sort keys and values of a range in order."""
    return _select(_ROWS, wanted, connection, now).fetchall()


def _select(what: str, wanted: Range, connection: sqlite3.Connection, now: float) -> sqlite3.Cursor:
    order = _DOWNWARDS if wanted.reverse else _UPWARDS
    if wanted.end is None:
        return connection.execute(what + order, (wanted.partition, wanted.start, now, wanted.limit))
    return connection.execute(what + _BEFORE + order, (wanted.partition, wanted.start, now, wanted.end, wanted.limit))


def write(operations: Sequence[Operation], connection: sqlite3.Connection, now: float) -> None:
    """Do a write inside the open transaction. It fails, if it does, before it changes anything.

    Raises:
        ConditionFailedError: a condition does not hold.
        ValueError: a counter would leave its range.

    """
    # Few statements for many items: each takes its thread off the interpreter's lock, and back on.
    asked = [operation.key for operation in operations if isinstance(operation, Add) or operation.condition is not None]
    found = _states(asked, connection, now)
    totals = [_demand(index, operation, found) for index, operation in enumerate(operations)]
    puts = [operation for operation in operations if isinstance(operation, Put)]
    if puts:
        values = [value for put in puts for value in (*put.key, put.value, put.expires_at)]
        connection.execute(_repeated(_PUT, ", ", _ROW, len(puts)), values)
    deletes = [part for operation in operations if isinstance(operation, Delete) for part in operation.key]
    if deletes:
        connection.execute(_repeated(_DELETE, " OR ", _THIS, len(deletes) // 2), deletes)
    for operation, total in zip(operations, totals, strict=True):
        if isinstance(operation, Add) and total:
            _count(operation.key, total, connection)


def purge(connection: sqlite3.Connection, now: float, jobs: int) -> None:
    """Remove some expired items: more than one batch of writes is likely to have made, and few enough not to be felt."""
    connection.execute(_PURGE, (now, PURGE_AT_LEAST + jobs))


def _states(keys: Sequence[Key], connection: sqlite3.Connection, now: float) -> dict[tuple[bytes, bytes], tuple[int, int]]:
    """Give number and version of those of the items that exist."""
    if not keys:
        return {}
    rows = connection.execute(_repeated(_STATES, " OR ", _THIS, len(keys)), (now, *chain.from_iterable(keys)))
    return {(partition, sort): (number, version) for partition, sort, number, version in rows}


def _demand(index: int, operation: Operation, found: Mapping[tuple[bytes, bytes], tuple[int, int]]) -> tuple[int, bool] | None:
    """Check what an operation demands. For a counter, give its new number and whether there is an item to update."""
    state = found.get(operation.key)
    if isinstance(operation, Add):
        total = (state[0] if state else 0) + operation.amount
        check_number(total)
        return total, state is not None
    if not _holds(operation.condition, state[1] if state else None):
        raise ConditionFailedError(index)
    return None


def _holds(condition: Condition, version: int | None) -> bool:
    match condition:
        case AtVersion(wanted):
            return version == wanted
        case Existence.ABSENT:
            return version is None
        case Existence.PRESENT:
            return version is not None
        case None:
            return True


def _count(key: Key, total: tuple[int, bool], connection: sqlite3.Connection) -> None:
    number, exists = total
    connection.execute(*((_COUNT, (number, *key)) if exists else (_START_COUNT, (*key, number))))


@cache
def _repeated(statement: str, separator: str, part: str, count: int) -> str:
    """Write a statement for so many items. Of each kind there are at most as many as a write has operations."""
    return statement.format(separator.join([part] * count))
