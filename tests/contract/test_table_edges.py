"""What every table engine has to do at the edges: of ranges, of sizes, of numbers, of time."""

import asyncio
import time

import pytest

from meshkit.table.port import (
    MAX_EXPIRES_AT,
    MAX_SORT_BYTES,
    MAX_VALUE_BYTES,
    MAX_WRITE_BYTES,
    Add,
    AtVersion,
    Check,
    ConditionFailedError,
    Delete,
    Existence,
    Item,
    Key,
    Operation,
    Put,
    Table,
)

KEY = Key(b"partition", b"sort")
OTHER = Key(b"partition", b"tail")
LONGEST = b"m" * MAX_SORT_BYTES
LAST = b"\xff" * MAX_SORT_BYTES
GONE = Put(KEY, b"gone", expires_at=1.0)
ABSENT = Existence.ABSENT
PRESENT = Existence.PRESENT


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (LONGEST + b"\x00", None, [b"n", LAST]),
        (LONGEST + b"\xff" * 10, None, [b"n", LAST]),
        (LAST + b"\x00", None, []),
        (b"", LONGEST + b"\x00", [b"\x00", b"m", LONGEST]),
        (b"m\x00", LONGEST + b"\x00", [LONGEST]),
        (LONGEST, LONGEST + b"\x00", [LONGEST]),
        (LONGEST + b"\x00", LONGEST + b"\x01", []),
        (b"", LONGEST, [b"\x00", b"m"]),
        (b"m", b"m\x00", [b"m"]),
        (b"m", b"n", [b"m", LONGEST]),
        (b"", LAST, [b"\x00", b"m", LONGEST, b"n"]),
        (b"n", LAST + b"\x00", [b"n", LAST]),
        (b"", b"\x00", []),
        (b"", b"", []),
        (b"\x00", b"\x00\x00", [b"\x00"]),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
async def test_a_range_ends_exactly_where_it_says(
    table: Table,
    start: bytes,
    end: bytes | None,
    expected: list[bytes],
    reverse: bool,  # noqa: FBT001  # pytest passes by name
) -> None:
    """Ends may be longer than any key, such as a key and one byte more; nothing before the start or from the end on is given."""
    await table.write(*(Put(Key(b"p", sort), b"") for sort in (b"\x00", b"m", LONGEST, b"n", LAST)))
    found = await table.query(b"p", start=start, end=end, limit=10, reverse=reverse)
    assert [item.key.sort for item in found] == (expected[::-1] if reverse else expected)


async def test_a_query_gives_any_amount_of_data(table: Table) -> None:
    """What an engine reads in several steps is one answer, in order, up to the limit."""
    values = {b"%02d" % number: bytes([number]) * MAX_VALUE_BYTES for number in range(12)}
    await asyncio.gather(*(table.write(Put(Key(b"p", sort), value)) for sort, value in values.items()))
    found = await table.query(b"p", limit=100)
    assert [(item.key.sort, item.value) for item in found] == list(values.items())
    assert [item.key.sort for item in await table.query(b"p", limit=7, reverse=True)] == sorted(values, reverse=True)[:7]


async def test_many_gets_give_any_amount_of_data(table: Table) -> None:
    """What an engine gives in several steps, as it has more than fits into one answer, is one answer."""
    puts = [Put(Key(b"p%d" % number, b"s"), bytes([number]) * MAX_VALUE_BYTES) for number in range(48)]
    for first in range(0, len(puts), 8):
        await table.write(*puts[first : first + 8])
    found = await table.get_many([put.key for put in puts])
    assert {key: item.value for key, item in found.items()} == {put.key: put.value for put in puts}


async def test_a_page_is_full_behind_any_number_of_expired_items(table: Table) -> None:
    """However many expired items lie before them, as many items are given as there are."""
    for first in range(0, 300, 100):
        await table.write(*(Put(Key(b"p", b"%04d" % number), b"", expires_at=1.0) for number in range(first, first + 100)))
    await table.write(*(Put(Key(b"p", b"%04d" % number), b"") for number in (150, 300, 301)))
    assert [item.key.sort for item in await table.query(b"p", limit=2)] == [b"0150", b"0300"]
    assert [item.key.sort for item in await table.query(b"p", limit=9)] == [b"0150", b"0300", b"0301"]
    assert [item.key.sort for item in await table.query(b"p", limit=9, end=b"0150")] == []


async def test_the_largest_write_is_taken_and_a_larger_one_refused(table: Table) -> None:
    """A write may have so many bytes of keys and values in all, and not one more."""
    count, key_size = 10, len(b"p") + len(b"0")
    values = [b"v" * (MAX_WRITE_BYTES // count - key_size) for _ in range(count)]
    puts = [Put(Key(b"p", b"%d" % number), value) for number, value in enumerate(values)]
    with pytest.raises(ValueError, match=r"together"):
        await table.write(*puts[1:], Put(puts[0].key, values[0] + b"v"))
    assert await table.query(b"p", limit=1) == []
    await table.write(*puts)
    assert [item.value for item in await table.query(b"p", limit=count)] == values


@pytest.mark.parametrize("expires_at", [float("inf"), float("nan"), -1.0, 1e300, MAX_EXPIRES_AT + 1])
async def test_an_item_expires_at_a_time(table: Table, expires_at: float) -> None:
    """A time that is no time, or too far away for some engine, is a programming error; the last one is taken."""
    with pytest.raises(ValueError, match=r"expires"):
        await table.write(Put(KEY, b"", expires_at=expires_at))
    await table.write(Put(KEY, b"", expires_at=MAX_EXPIRES_AT))
    assert await table.get(KEY)


@pytest.mark.parametrize("others", [[], [Put(OTHER, b"")]])
async def test_an_item_that_is_made_again_begins_at_version_one(table: Table, others: list[Operation]) -> None:
    """A deletion leaves nothing behind, in a write alone and in one with others."""
    await table.write(Put(KEY, b"1"))
    await table.write(Add(KEY, 4))
    await table.write(Delete(KEY), *others)
    await table.write(Add(KEY, 1), *others)
    assert await table.get(KEY) == Item(KEY, b"", 1, 1)


@pytest.mark.parametrize(("start", "step"), [(2**63 - 1, 1), (-(2**63), -1), (1, 2**63 - 1), (-2, 1 - 2**63)])
async def test_a_number_alone_never_overflows(table: Table, start: int, step: int) -> None:
    """An addition that would leave 64 bits is refused at either end, and one that just stays within is not."""
    await table.write(Add(KEY, start))
    with pytest.raises(ValueError, match="64 bits"):
        await table.write(Add(KEY, step))
    await table.write(Add(KEY, -step))
    assert await table.get(KEY) == Item(KEY, b"", start - step, 2)


@pytest.mark.parametrize("first", ["number", "condition"])
async def test_the_first_failure_is_told(table: Table, first: str) -> None:
    """Of a number that would overflow and a condition that does not hold, the caller hears of the one that comes first."""
    await table.write(Add(KEY, 2**63 - 1))
    operations: list[Operation] = [Add(KEY, 1), Check(OTHER, PRESENT)]
    if first == "number":
        with pytest.raises(ValueError, match="64 bits"):
            await table.write(*operations)
    else:
        with pytest.raises(ConditionFailedError) as failure:
            await table.write(*operations[::-1])
        assert failure.value.index == 0


@pytest.mark.parametrize("condition", [PRESENT, AtVersion(1)])
@pytest.mark.parametrize("kind", [Put, Delete, Check])
async def test_nothing_can_be_demanded_of_an_expired_item(
    table: Table, kind: type[Put | Delete | Check], condition: Existence
) -> None:
    """An expired item is absent for conditions, alone and among others, and stays as it is when a write fails."""
    await table.write(GONE)
    operation: Operation = Put(KEY, b"new", condition) if kind is Put else kind(KEY, condition)  # type: ignore[arg-type]
    for operations, index in (([operation], 0), ([Add(OTHER, 1), operation], 1)):
        with pytest.raises(ConditionFailedError) as failure:
            await table.write(*operations)
        assert failure.value.index == index
    assert await table.get_many([KEY, OTHER]) == {}


@pytest.mark.parametrize("operation", [Put(KEY, b"new", ABSENT), Delete(KEY, ABSENT), Check(KEY, ABSENT)])
@pytest.mark.parametrize("others", [[], [Put(OTHER, b"")]])
async def test_an_expired_item_is_absent(table: Table, operation: Put | Delete | Check, others: list[Operation]) -> None:
    """A write that wants an item absent is content with one that has expired."""
    await table.write(GONE)
    await table.write(operation, *others)
    found = await table.get(KEY)
    assert (found is not None and found.value == b"new") == isinstance(operation, Put)
    assert (await table.get(OTHER) is not None) == bool(others)


@pytest.mark.parametrize("others", [[], [Put(OTHER, b"")]])
async def test_a_counter_that_has_expired_starts_anew(table: Table, others: list[Operation]) -> None:
    """Adding to an expired item makes a new one that does not expire, and the next addition counts on from there."""
    await table.write(Put(KEY, b"gone", expires_at=time.time() + 3600))
    await table.write(Add(KEY, 2**63 - 1))
    await table.write(Put(KEY, b"gone", expires_at=1.0))
    await table.write(Add(KEY, 5), *others)
    await table.write(Add(KEY, -7), *others)
    found = await table.get(KEY)
    assert found
    assert (found.value, found.number) == (b"", -2)


async def test_a_counter_that_has_expired_stays_when_another_condition_fails(table: Table) -> None:
    """All or nothing holds for a counter that has to start anew too."""
    await table.write(GONE)
    operations: list[Operation] = [Add(KEY, 5), Check(OTHER, PRESENT)]
    for some, index in ((operations, 1), (operations[::-1], 0)):
        with pytest.raises(ConditionFailedError) as failure:
            await table.write(*some)
        assert failure.value.index == index
    assert await table.get(KEY) is None


async def test_concurrent_additions_to_an_expired_counter_sum_up(table: Table) -> None:
    """Only the first of many additions finds the counter expired; none is lost, alone or with others."""
    await table.write(GONE, Put(OTHER, b"gone", expires_at=1.0))
    await asyncio.gather(*(table.write(Add(KEY, 1), *([Add(OTHER, 1)] if number % 2 else [])) for number in range(30)))
    found = await table.get_many([KEY, OTHER])
    assert (found[KEY].number, found[OTHER].number) == (30, 15)


async def test_readers_that_give_up_leave_the_others_alone(table: Table) -> None:
    """A caller that is cancelled takes nothing from those who read the same item."""
    await table.write(Put(KEY, b"x"))
    readers = [asyncio.create_task(table.get(KEY)) for _ in range(20)]
    await asyncio.sleep(0)
    for reader in readers[::2]:
        reader.cancel()
    outcomes = await asyncio.gather(*readers, return_exceptions=True)
    assert outcomes[1::2] == [Item(KEY, b"x", 0, 1)] * 10
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
