"""What a table can do, whatever engine keeps it: DynamoDB's own model, so that repositories are written once.

A table holds items. An item has a key (a partition and, inside it, a sort key by which the partition is ordered), a value of
bytes, a number for counters, and a version that grows by one with every write of the item.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

MAX_OPERATIONS = 100
MAX_PARTITION_BYTES = 2048
MAX_SORT_BYTES = 1024
MAX_VALUE_BYTES = 350_000
MAX_WRITE_BYTES = 3_000_000
# The end of the year 9999.
MAX_EXPIRES_AT = 253_402_300_799


class Key(NamedTuple):
    """Where an item is. A partition is 1 to 2,048 bytes, a sort key 1 to 1,024; sort keys order as unsigned bytes."""

    partition: bytes
    sort: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it was when it was read."""

    key: Key
    value: bytes
    number: int
    version: int


Row = tuple[bytes, bytes]
"""The sort key and the value of an item."""


class Existence(Enum):
    """A condition on whether an item exists."""

    ABSENT = "absent"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class AtVersion:
    """A condition: the item exists and has this version."""

    version: int


Condition = Existence | AtVersion | None


@dataclass(frozen=True, slots=True)
class Put:
    """Write an item whole; its number becomes 0. `expires_at` hides and later removes it.

    It is in Unix seconds, from 0 to the end of the year 9999, and an engine may round it up to a full second.
    """

    key: Key
    value: bytes
    condition: Condition = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item. Without a condition, removing what is not there is not an error."""

    key: Key
    condition: Condition = None


@dataclass(frozen=True, slots=True)
class Add:
    """Add to an item's number; a missing item is made, with an empty value and the amount as its number."""

    key: Key
    amount: int


@dataclass(frozen=True, slots=True)
class Check:
    """Write nothing; only demand something of an item that the same write does not touch."""

    key: Key
    condition: Existence | AtVersion


Operation = Put | Delete | Add | Check


class ConditionFailedError(Exception):
    """A write's condition did not hold, and nothing of the write was done. `index` tells which operation, the first that failed."""

    def __init__(self, index: int) -> None:
        super().__init__(f"the condition of operation {index} does not hold")
        self.index = index


class Table(Protocol):
    """A table. Every read is consistent: it sees all writes that were acknowledged before it began.

    A read of several items is not of one moment: of a write that is done meanwhile it may see some items and not yet others.

    Every method raises `meshkit.errors.UnavailableError` when the engine does not answer in time, `OverloadedError` when too much
    waits for it already, and `ValueError` for keys, values, times or counts outside their limits.
    """

    async def get(self, key: Key) -> Item | None:
        """Give an item, or None."""

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Give those of the items that exist. Any number of keys, each any number of times."""

    async def query(
        self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int, reverse: bool = False
    ) -> list[Item]:
        """Give up to `limit` (1 or more) items with start <= sort key < end, ascending, or descending with `reverse`.

        Fewer than `limit` means that there are no more.
        """

    async def rows(self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int) -> list[Row]:
        """Give sort keys and values of what `query` gives, ascending: for long lists, of which nothing else is asked."""

    async def write(self, *operations: Operation) -> None:
        """Do 1 to 100 operations on different items, all or nothing; durable when it returns.

        Keys and values together have at most 3,000,000 bytes. After `UnavailableError` the write may have been done, or may yet be;
        after every other error it was not.

        Raises:
            ConditionFailedError: a condition did not hold.
            ValueError: also when a number would leave 64 bits.

        """
