"""Half-open ranges of sort keys, as DynamoDB can ask for them: closed, and with ends that could be keys."""

from meshkit.table.dynamodb_items import Value, binary
from meshkit.table.port import MAX_SORT_BYTES

_LAST = b"\xff" * MAX_SORT_BYTES


def key_condition(partition: bytes, start: bytes, end: bytes | None) -> tuple[str, dict[str, Value]] | None:
    """Give the condition for start <= sort key < end, with its values; None when no key can be between."""
    low, high = _at_least(start), _below(end)
    if low is None or high is None or low > high:
        return None
    values = {":p": binary(partition)}
    if low and high < _LAST:
        return "p = :p AND s BETWEEN :low AND :high", values | {":low": binary(low), ":high": binary(high)}
    if low:
        return "p = :p AND s >= :low", values | {":low": binary(low)}
    if high < _LAST:
        return "p = :p AND s <= :high", values | {":high": binary(high)}
    return "p = :p", values


def _at_least(start: bytes) -> bytes | None:
    """Give the first key that is not before the start, or nothing for the very first; None when there is none."""
    if len(start) <= MAX_SORT_BYTES:
        return start
    # A key that is after what the start begins with differs from it within its length, and so is after the start.
    shortened = start[:MAX_SORT_BYTES].rstrip(b"\xff")
    return shortened[:-1] + bytes([shortened[-1] + 1]) if shortened else None


def _below(end: bytes | None) -> bytes | None:
    """Give the last key before the end; None when there is none."""
    if end is None:
        return _LAST
    if len(end) > MAX_SORT_BYTES:
        return end[:MAX_SORT_BYTES]
    before, last = end[:-1], end[-1:]
    if last > b"\x00":
        return (before + bytes([last[0] - 1])).ljust(MAX_SORT_BYTES, b"\xff")
    return before or None
