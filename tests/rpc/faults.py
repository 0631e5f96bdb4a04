"""Real faults of a table's file, made from outside of the service that has it open."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Keep every write to a table waiting for the length of a block, or until the connection rolls back."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("ROLLBACK")


def spoil_values(file: Path) -> None:
    """Make every value in a table something that no service wrote."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("UPDATE items SET value = x'c1'")


def drop_items(file: Path) -> None:
    """Take the table away from under its service."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("DROP TABLE items")


@contextmanager
def refusing(file: Path, kind: bytes) -> Iterator[None]:
    """Have a table fail every write that would put an item of a kind, for the length of a block."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        mine = f"substr(NEW.partition, 1, {len(kind)}) = x'{kind.hex()}'"
        other.execute(f"CREATE TRIGGER refusal BEFORE INSERT ON items WHEN {mine} BEGIN SELECT RAISE(ABORT, 'refused'); END")
        try:
            yield
        finally:
            other.execute("DROP TRIGGER refusal")
