"""Keep a table's limits in one place, so that every engine refuses the same things."""

from collections.abc import Iterable, Sequence

from meshkit.table.port import (
    MAX_EXPIRES_AT,
    MAX_OPERATIONS,
    MAX_PARTITION_BYTES,
    MAX_SORT_BYTES,
    MAX_VALUE_BYTES,
    MAX_WRITE_BYTES,
    Add,
    Key,
    Operation,
    Put,
)

MIN_NUMBER = -(2**63)
MAX_NUMBER = 2**63 - 1


def check_partition(partition: bytes) -> None:
    """Raise `ValueError` unless the partition has 1 to 2,048 bytes."""
    if not 0 < len(partition) <= MAX_PARTITION_BYTES:
        raise ValueError(f"a partition has 1 to {MAX_PARTITION_BYTES} bytes, not {len(partition)}")


def check_keys(keys: Iterable[Key]) -> None:
    """Raise `ValueError` unless every key is within its limits."""
    for partition, sort in keys:
        check_partition(partition)
        if not 0 < len(sort) <= MAX_SORT_BYTES:
            raise ValueError(f"a sort key has 1 to {MAX_SORT_BYTES} bytes, not {len(sort)}")


def check_count(limit: int) -> None:
    """Raise `ValueError` unless the limit of a query is at least 1."""
    if limit < 1:
        raise ValueError(f"a query's limit is 1 or more, not {limit}")


def check_number(number: int) -> None:
    """Raise `ValueError` unless a counter, or what is added to it, fits in 64 bits with a sign."""
    if not MIN_NUMBER <= number <= MAX_NUMBER:
        raise ValueError("a number has to fit in 64 bits with a sign")


def check_operations(operations: Sequence[Operation]) -> None:
    """Raise `ValueError` unless one write may do these operations.

    They are 1 to 100, each within its limits, on different items, with at most 3,000,000 bytes of keys and values together.
    """
    if not 0 < len(operations) <= MAX_OPERATIONS:
        raise ValueError(f"a write has 1 to {MAX_OPERATIONS} operations, not {len(operations)}")
    keys = {operation.key for operation in operations}
    if len(keys) < len(operations):
        raise ValueError("the operations of one write have to be on different items")
    check_keys(keys)
    for operation in operations:
        _check_operation(operation)
    if (size := sum(map(_size, operations))) > MAX_WRITE_BYTES:
        raise ValueError(f"the keys and values of a write have at most {MAX_WRITE_BYTES} bytes together, not {size}")


def _check_operation(operation: Operation) -> None:
    if isinstance(operation, Put):
        if len(operation.value) > MAX_VALUE_BYTES:
            raise ValueError(f"a value has at most {MAX_VALUE_BYTES} bytes, not {len(operation.value)}")
        if not 0 <= (operation.expires_at or 0) <= MAX_EXPIRES_AT:
            raise ValueError(f"an item expires at some time from 0 to {MAX_EXPIRES_AT}, or never: at None")
    if isinstance(operation, Add):
        check_number(operation.amount)


def _size(operation: Operation) -> int:
    key = sum(map(len, operation.key))
    return key + len(operation.value) if isinstance(operation, Put) else key
