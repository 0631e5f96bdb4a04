"""Every table engine against a plain dictionary."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from meshkit.table.port import (
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

T = TypeVar("T")
PAST, FUTURE = 1.0, 1e11
SORTS = st.sampled_from([b"\x00", b"a", b"a\x00", b"\xff"])
DRAFTS = st.dictionaries(
    st.tuples(st.sampled_from([b"p", b"q"]), SORTS),
    st.tuples(
        st.sampled_from(["put", "delete", "add", "check"]),
        st.sampled_from([None, None, "absent", "present", "current", "stale"]),
        st.binary(max_size=3),
        st.sampled_from([None, None, PAST, FUTURE]),
        st.integers(-5, 5),
    ),
    min_size=1,
    max_size=4,
)
Draft = tuple[str, str | None, bytes, float | None, int]


class TableMachine(RuleBasedStateMachine):
    """Does the same to a table and to a dictionary. Each run has partitions of its own, so that one table serves them all."""

    def __init__(self, table: Table, run: Callable[[Coroutine[Any, Any, Any]], Any], number: int) -> None:
        super().__init__()
        self.table = table
        self.run = run
        self.prefix = b"%d/" % number
        self.model: dict[Key, Item] = {}

    @rule(drafts=DRAFTS)
    def write(self, drafts: dict[tuple[bytes, bytes], Draft]) -> None:
        """Do everything, or name the first operation whose condition does not hold."""
        operations = [self._operation(Key(self.prefix + partition, sort), draft) for (partition, sort), draft in drafts.items()]
        failed = next((index for index, operation in enumerate(operations) if not self._holds(operation)), None)
        if failed is None:
            self.run(self.table.write(*operations))
            self._apply(operations)
        else:
            with pytest.raises(ConditionFailedError) as failure:
                self.run(self.table.write(*operations))
            assert failure.value.index == failed
        keys = [operation.key for operation in operations]
        assert self.run(self.table.get_many(keys)) == {key: self.model[key] for key in keys if key in self.model}

    @rule(partition=st.sampled_from([b"p", b"q"]), sort=SORTS)
    def get(self, partition: bytes, sort: bytes) -> None:
        """Find what was written last."""
        key = Key(self.prefix + partition, sort)
        assert self.run(self.table.get(key)) == self.model.get(key)

    @rule(
        partition=st.sampled_from([b"p", b"q"]),
        start=SORTS | st.just(b""),
        end=SORTS | st.none(),
        limit=st.integers(1, 5),
        reverse=st.booleans(),
    )
    def query(self, partition: bytes, start: bytes, end: bytes | None, limit: int, *, reverse: bool) -> None:
        """Find a range in order, up to the limit."""
        wanted = self.prefix + partition
        found = self.run(self.table.query(wanted, start=start, end=end, limit=limit, reverse=reverse))
        inside = [key for key in self.model if key.partition == wanted and start <= key.sort and (end is None or key.sort < end)]
        assert found == [self.model[key] for key in sorted(inside, reverse=reverse)[:limit]]

    def _operation(self, key: Key, draft: Draft) -> Operation:
        kind, wish, value, expires_at, amount = draft
        condition = self._condition(key, wish)
        match kind:
            case "put":
                return Put(key, value, condition, expires_at)
            case "delete":
                return Delete(key, condition)
            case "check":
                return Check(key, condition or Existence.PRESENT)
        return Add(key, amount)

    def _condition(self, key: Key, wish: str | None) -> Condition:
        version = self.model[key].version if key in self.model else 1
        conditions: dict[str, Condition] = {
            "absent": Existence.ABSENT,
            "present": Existence.PRESENT,
            "stale": AtVersion(version + 1),
        }
        return AtVersion(version) if wish == "current" else conditions.get(wish or "")

    def _holds(self, operation: Operation) -> bool:
        item = self.model.get(operation.key)
        if isinstance(operation, Add) or operation.condition is None:
            return True
        if isinstance(operation.condition, AtVersion):
            return item is not None and item.version == operation.condition.version
        return (item is not None) == (operation.condition is Existence.PRESENT)

    def _apply(self, operations: list[Operation]) -> None:
        for operation in operations:
            old = self.model.get(operation.key)
            if isinstance(operation, Delete) or (isinstance(operation, Put) and operation.expires_at == PAST):
                self.model.pop(operation.key, None)
            elif isinstance(operation, Put):
                self.model[operation.key] = Item(operation.key, operation.value, 0, self._version(operation.key, old))
            elif isinstance(operation, Add):
                value, number = (old.value, old.number) if old else (b"", 0)
                version = self._version(operation.key, old)
                self.model[operation.key] = Item(operation.key, value, number + operation.amount, version)

    def _version(self, key: Key, old: Item | None) -> int:
        """One more than before; an item that is made anew may start anywhere."""
        if old:
            return old.version + 1
        made = self.run(self.table.get(key))
        assert made.version >= 1
        return int(made.version)


def test_a_table_is_a_dictionary(open_table: Callable[[], AbstractAsyncContextManager[Table]]) -> None:
    """Any sequence of writes and reads does to a table what it does to a dictionary."""
    numbers = count()
    steps = settings(
        max_examples=30, stateful_step_count=30, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    with asyncio.Runner() as runner:
        opening = open_table()
        table = runner.run(_call(opening.__aenter__))
        try:
            # It says that it wants a class, and calls what it gets without arguments.
            run_state_machine_as_test(
                lambda: TableMachine(table, runner.run, next(numbers)),  # type: ignore[arg-type]
                settings=steps,
            )
        finally:
            runner.run(_call(lambda: opening.__aexit__(None, None, None)))


async def _call(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Make a call inside the loop."""
    return await function()
