"""What every table engine has to do."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from meshkit.table.port import (
    MAX_OPERATIONS,
    MAX_PARTITION_BYTES,
    MAX_SORT_BYTES,
    MAX_VALUE_BYTES,
    Add,
    AtVersion,
    Check,
    Condition,
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
ABSENT = Existence.ABSENT
PRESENT = Existence.PRESENT


def letters(*sorts: bytes) -> list[Put]:
    """Give puts of items in one partition."""
    return [Put(Key(b"p", sort), sort) for sort in sorts]


async def sorts(
    table: Table, *, start: bytes = b"", end: bytes | None = None, limit: int = 100, reverse: bool = False
) -> list[bytes]:
    """Give the sort keys that a query of that partition finds."""
    return [item.key.sort for item in await table.query(b"p", start=start, end=end, limit=limit, reverse=reverse)]


async def test_a_put_item_is_read_back_exactly(table: Table) -> None:
    """Keys and values are bytes, any bytes, and come back as they were."""
    key = Key(bytes(range(256)), b"\x00\xff\x00")
    await table.write(Put(key, b"\x00\xfe"))
    assert await table.get(key) == Item(key, b"\x00\xfe", 0, 1)


async def test_what_is_not_there_is_nothing(table: Table) -> None:
    """Reading what nobody wrote gives empty answers, not errors."""
    assert await table.get(KEY) is None
    assert await table.get_many([KEY, OTHER]) == {}
    assert await table.get_many([]) == {}
    assert await table.query(b"partition", limit=10) == []


async def test_get_many_takes_any_keys_any_number_of_times(table: Table) -> None:
    """Each item that exists is in the answer once, however often and with however many others it was asked for."""
    keys = [Key(b"p%d" % (number % 7), b"%d" % number) for number in range(250)]
    await asyncio.gather(*(table.write(Put(key, key.sort)) for key in keys))
    found = await table.get_many([*keys, *keys, KEY])
    assert {key: item.value for key, item in found.items()} == {key: key.sort for key in keys}


@pytest.mark.parametrize(
    ("start", "end", "reverse", "expected"),
    [
        (b"", None, False, [b"a", b"b", b"b\x00", b"c", b"\xff"]),
        (b"", None, True, [b"\xff", b"c", b"b\x00", b"b", b"a"]),
        (b"b", b"c", False, [b"b", b"b\x00"]),
        (b"b", b"c", True, [b"b\x00", b"b"]),
        (b"b\x00", None, False, [b"b\x00", b"c", b"\xff"]),
        (b"", b"b", True, [b"a"]),
        (b"c", b"c", False, []),
        (b"c", b"a", True, []),
    ],
)
async def test_a_query_is_half_open_and_ordered(
    table: Table,
    start: bytes,
    end: bytes | None,
    reverse: bool,  # noqa: FBT001  # pytest passes by name
    expected: list[bytes],
) -> None:
    """A query gives start <= sort key < end as unsigned bytes, in either direction, of its partition only."""
    await table.write(*letters(b"\xff", b"b\x00", b"a", b"c", b"b"), Put(Key(b"q", b"b"), b"other partition"))
    assert await sorts(table, start=start, end=end, reverse=reverse) == expected


@pytest.mark.parametrize(("reverse", "expected"), [(False, [b"a", b"b"]), (True, [b"c", b"b"])])
async def test_a_query_stops_at_its_limit(table: Table, reverse: bool, expected: list[bytes]) -> None:  # noqa: FBT001
    """The limit cuts the far end off; a limit that is not reached means that there is no more."""
    await table.write(*letters(b"a", b"b", b"c"))
    assert await sorts(table, limit=2, reverse=reverse) == expected
    assert len(await sorts(table, limit=4, reverse=reverse)) == 3


@pytest.mark.parametrize(("start", "end"), [(b"", None), (b"b", b"c"), (b"b\x00", None), (b"", b"b"), (b"c", b"a")])
async def test_rows_are_what_a_query_gives(table: Table, start: bytes, end: bytes | None) -> None:
    """Of the same range rows are the same items in the same order, up to the same limit, without what is expired."""
    await table.write(*letters(b"\xff", b"b\x00", b"a", b"c", b"b"), Put(Key(b"p", b"bb"), b"gone", expires_at=1.0), Add(KEY, 1))
    for limit in range(1, 7):
        items = await table.query(b"p", start=start, end=end, limit=limit)
        assert await table.rows(b"p", start=start, end=end, limit=limit) == [(item.key.sort, item.value) for item in items]
    assert await table.rows(KEY.partition, limit=2) == [(KEY.sort, b"")]
    with pytest.raises(ValueError, match="limit"):
        await table.rows(b"p", limit=0)


async def test_a_query_is_full_when_expired_items_are_in_its_way(table: Table) -> None:
    """Items that nobody sees do not count against the limit."""
    await table.write(*letters(b"c", b"d"), *(Put(Key(b"p", sort), b"", expires_at=1.0) for sort in (b"a", b"b")))
    assert await sorts(table, limit=2) == [b"c", b"d"]


async def test_versions_grow_by_one_with_every_write(table: Table) -> None:
    """Puts and adds of an item each make its version one higher; checks do not."""
    await table.write(Put(KEY, b"1"))
    await table.write(Add(KEY, 5))
    assert await table.get(KEY) == Item(KEY, b"1", 5, 2)
    await table.write(Check(KEY, AtVersion(2)))
    await table.write(Put(KEY, b"3", AtVersion(2)))
    assert await table.get(KEY) == Item(KEY, b"3", 0, 3)


@pytest.mark.parametrize(
    ("exists", "condition", "holds"),
    [
        (False, None, True),
        (False, ABSENT, True),
        (False, PRESENT, False),
        (False, AtVersion(1), False),
        (True, None, True),
        (True, ABSENT, False),
        (True, PRESENT, True),
        (True, AtVersion(1), True),
        (True, AtVersion(2), False),
    ],
)
@pytest.mark.parametrize("kind", [Put, Delete, Check])
async def test_conditions_decide(
    table: Table,
    kind: type[Put | Delete | Check],
    exists: bool,  # noqa: FBT001  # pytest passes by name
    condition: Condition,
    holds: bool,  # noqa: FBT001
) -> None:
    """An operation is done when its condition holds, and otherwise the write fails and says which operation it was."""
    await table.write(*([Put(KEY, b"old")] if exists else []), Put(OTHER, b""))
    if kind is Check and condition is None:
        return
    operation: Operation = Put(KEY, b"new", condition) if kind is Put else kind(KEY, condition)  # type: ignore[arg-type]
    before = await table.get(KEY)
    if not holds:
        with pytest.raises(ConditionFailedError) as failure:
            await table.write(Put(OTHER, b"x"), operation)
        assert failure.value.index == 1
    else:
        await table.write(Put(OTHER, b"x"), operation)
    after = await table.get(KEY)
    changed = {Put: after is not None and after.value == b"new", Delete: after is None, Check: after == before}[kind]
    assert changed if holds else after == before


async def test_a_failed_condition_undoes_the_whole_write(table: Table) -> None:
    """All or nothing: operations before and after the one that failed leave no trace; the first that failed is named."""
    await table.write(Put(KEY, b"old"))
    new = [Key(b"new", b"%d" % number) for number in range(3)]
    with pytest.raises(ConditionFailedError) as failure:
        await table.write(Put(new[0], b""), Add(new[1], 1), Delete(KEY), Check(OTHER, PRESENT), Put(new[2], b"", PRESENT))
    assert failure.value.index == 3
    assert await table.get_many([KEY, OTHER, *new]) == {KEY: Item(KEY, b"old", 0, 1)}


async def test_deleting_nothing_is_not_an_error(table: Table) -> None:
    """A delete without a condition may find nothing."""
    await table.write(Delete(KEY))
    assert await table.get(KEY) is None


async def test_add_makes_and_counts(table: Table) -> None:
    """Adding to a missing item makes it; amounts may be negative, and the value stays."""
    await table.write(Add(KEY, -3))
    assert await table.get(KEY) == Item(KEY, b"", -3, 1)
    await table.write(Add(KEY, 10))
    assert await table.get(KEY) == Item(KEY, b"", 7, 2)


@pytest.mark.parametrize("seconds", [-1.0, -1e6])
async def test_an_expired_item_is_not_there(table: Table, seconds: float) -> None:
    """No read sees an expired item, conditions count it as absent, and adding starts from nothing."""
    gone = Put(KEY, b"gone", expires_at=time.time() + seconds)
    await table.write(gone)
    assert await table.get(KEY) is None
    assert await table.get_many([KEY]) == {}
    assert await table.query(KEY.partition, limit=1) == []
    with pytest.raises(ConditionFailedError):
        await table.write(Check(KEY, PRESENT))
    await table.write(Put(KEY, b"new", ABSENT))
    assert (await table.get_many([KEY]))[KEY].value == b"new"
    await table.write(gone)
    await table.write(Add(KEY, 2))
    added = await table.get(KEY)
    assert added
    assert (added.value, added.number) == (b"", 2)


async def test_an_item_that_expires_later_is_there(table: Table) -> None:
    """An item is visible until its time comes, and for good when it is written again without one."""
    await table.write(Put(KEY, b"1", expires_at=time.time() + 3600))
    assert await table.get(KEY) == Item(KEY, b"1", 0, 1)
    await table.write(Put(KEY, b"2", AtVersion(1)))
    assert await table.get(KEY) == Item(KEY, b"2", 0, 2)


async def test_concurrent_adds_sum_up(table: Table) -> None:
    """No addition is lost, however many there are at once."""
    await asyncio.gather(*(table.write(Add(KEY, number), Add(OTHER, -number)) for number in range(1, 201)))
    found = await table.get_many([KEY, OTHER])
    assert (found[KEY].number, found[KEY].version, found[OTHER].number) == (20_100, 200, -20_100)


@pytest.mark.parametrize("condition", [ABSENT, AtVersion(1)])
async def test_of_concurrent_conditional_puts_exactly_one_wins(table: Table, condition: Condition) -> None:
    """Conditions are checked against what is written, so that only one of many rivals gets through."""
    if condition is not ABSENT:
        await table.write(Put(KEY, b"first"))
    rivals = [table.write(Put(KEY, b"%d" % number, condition), Add(OTHER, 1)) for number in range(20)]
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [ConditionFailedError] * 19
    found = await table.get_many([KEY, OTHER])
    assert found[KEY].value == b"%d" % outcomes.index(None)
    assert found[OTHER].number == 1


async def test_an_acknowledged_write_is_seen_at_once(table: Table) -> None:
    """Whoever reads after a write was acknowledged sees it, with any number of others at it."""

    async def write_and_read(number: int) -> None:
        key = Key(b"p%d" % number, b"s")
        for version in range(1, 11):
            await table.write(Put(key, b"%d" % version))
            assert await table.get(key) == Item(key, b"%d" % version, 0, version)

    await asyncio.gather(*(write_and_read(number) for number in range(20)))


async def test_what_was_written_survives_closing(open_table: Callable[[], AbstractAsyncContextManager[Table]]) -> None:
    """A table that is opened again has everything, with versions and numbers."""
    async with open_table() as table:
        await table.write(Put(KEY, b"kept"))
        await table.write(Add(KEY, 4))
    async with open_table() as table:
        assert await table.get(KEY) == Item(KEY, b"kept", 4, 2)


async def test_the_largest_of_everything_is_taken(table: Table) -> None:
    """Keys and values at their limits, and as many operations as allowed, go in and come out."""
    key = Key(b"p" * MAX_PARTITION_BYTES, b"\xff" * MAX_SORT_BYTES)
    await table.write(Put(key, b"v" * MAX_VALUE_BYTES), *letters(*(b"%d" % number for number in range(MAX_OPERATIONS - 1))))
    assert len((await table.query(key.partition, start=b"\xff", limit=1))[0].value) == MAX_VALUE_BYTES
    assert len(await sorts(table)) == MAX_OPERATIONS - 1


@pytest.mark.parametrize(
    "operations",
    [
        [],
        letters(*(b"%d" % number for number in range(MAX_OPERATIONS + 1))),
        [Put(KEY, b""), Check(KEY, PRESENT)],
        [Put(Key(b"", b"s"), b"")],
        [Put(Key(b"p", b""), b"")],
        [Delete(Key(b"p" * (MAX_PARTITION_BYTES + 1), b"s"))],
        [Check(Key(b"p", b"s" * (MAX_SORT_BYTES + 1)), ABSENT)],
        [Put(KEY, b"v" * (MAX_VALUE_BYTES + 1))],
        [Add(KEY, 2**63)],
    ],
)
async def test_writes_outside_the_limits_are_refused(table: Table, operations: list[Operation]) -> None:
    """A write that breaks a limit is a ValueError and does nothing."""
    with pytest.raises(ValueError, match=r"."):
        await table.write(Put(OTHER, b""), *operations) if operations else await table.write()
    assert await table.get(OTHER) is None


async def test_reads_outside_the_limits_are_refused(table: Table) -> None:
    """Keys that cannot exist and empty pages are programming errors."""
    for read in (
        table.get(Key(b"", b"s")),
        table.get_many([KEY, Key(b"p", b"")]),
        table.query(b"", limit=1),
        table.query(b"p", limit=0),
    ):
        with pytest.raises(ValueError, match=r"."):
            await read


async def test_a_number_never_overflows(table: Table) -> None:
    """An addition beyond 64 bits fails alone and changes nothing."""
    await table.write(Add(KEY, 2**63 - 1))
    with pytest.raises(ValueError, match="64 bits"):
        await table.write(Put(OTHER, b""), Add(KEY, 1))
    assert await table.get_many([KEY, OTHER]) == {KEY: Item(KEY, b"", 2**63 - 1, 1)}
