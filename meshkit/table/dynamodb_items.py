"""How an item stands in DynamoDB: single letters, because names count towards an item's size and price.

`p` partition, `s` sort key, `v` value (absent when an addition made the item), `n` number, `r` version, `e` when it expires.
DynamoDB removes what has expired some time later, and knows whole seconds only.
"""

import math

import msgspec

from meshkit.table.port import Item, Key

PARTITION, SORT, EXPIRY = "p", "s", "e"
Value = dict[str, str | bytes]
"""A value with its type, as DynamoDB wants it: {"B": bytes} or {"N": digits}."""


class Binary(msgspec.Struct, frozen=True):
    """Bytes, base64 on the wire."""

    value: bytes = msgspec.field(name="B")


class Number(msgspec.Struct, frozen=True):
    """A decimal number, a string on the wire."""

    value: str = msgspec.field(name="N")


class Row(msgspec.Struct, frozen=True):
    """An item on the wire."""

    partition: Binary = msgspec.field(name="p")
    sort: Binary = msgspec.field(name="s")
    version: Number = msgspec.field(name="r")
    number: Number = msgspec.field(name="n")
    value: Binary | None = msgspec.field(name="v", default=None)
    expires_at: Number | None = msgspec.field(name="e", default=None)


class RowKey(msgspec.Struct, frozen=True):
    """An item's key on the wire."""

    partition: Binary = msgspec.field(name="p")
    sort: Binary = msgspec.field(name="s")


def binary(value: bytes) -> Value:
    """Give bytes with their type."""
    return {"B": value}


def number(value: float) -> Value:
    """Give a number with its type."""
    return {"N": str(value)}


def expiry(expires_at: float) -> Value:
    """Give a time rounded up to a second: an item may live a little longer, never shorter."""
    return number(math.ceil(expires_at))


def row_key(key: Key) -> dict[str, Value]:
    """Give a key as DynamoDB wants it."""
    return {PARTITION: binary(key.partition), SORT: binary(key.sort)}


def key_of(row: Row | RowKey) -> Key:
    """Give the key of what came over the wire."""
    return Key(row.partition.value, row.sort.value)


def is_live(row: Row, now: float) -> bool:
    """Tell whether an item has not expired. `now` is in Unix seconds."""
    return row.expires_at is None or float(row.expires_at.value) > now


def item_of(row: Row) -> Item:
    """Give the item that came over the wire."""
    return Item(key_of(row), row.value.value if row.value else b"", int(row.number.value), int(row.version.value))
