"""Half-open ranges of sort keys, as DynamoDB can ask for them: closed, and with ends that could be keys."""

from meshkit.table.dynamodb_items import Value, binary
from meshkit.table.port import MAX_SORT_BYTES


def key_condition(partition: bytes, start: bytes, end: bytes | None) -> tuple[str, dict[str, Value]] | None:
    """Give the condition for start <= sort key <= end, with its values; None when no key can be between.

    Who reads has to leave out the item at the end itself.
    """
    low = _at_least(start)
    if low is None or (end is not None and low >= end):
        return None
    values = {":p": binary(partition)}
    if low:
        values[":low"] = binary(low)
    if end is not None:
        # A key that is before the end is not after what the end begins with.
        values[":high"] = binary(end[:MAX_SORT_BYTES])
    return _CONDITIONS[bool(low), end is not None], values


_CONDITIONS = {
    (False, False): "p = :p",
    (True, False): "p = :p AND s >= :low",
    (False, True): "p = :p AND s <= :high",
    (True, True): "p = :p AND s BETWEEN :low AND :high",
}


def _at_least(start: bytes) -> bytes | None:
    """Give the first key that is not before the start, or nothing for the very first; None when there is none."""
    if len(start) <= MAX_SORT_BYTES:
        return start
    # A key that is after what the start begins with differs from it within its length, and so is after the start.
    shortened = start[:MAX_SORT_BYTES].rstrip(b"\xff")
    return shortened[:-1] + bytes([shortened[-1] + 1]) if shortened else None
