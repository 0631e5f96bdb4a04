"""Request ids: the first answer is kept for a day."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshkit.errors import AlreadyExistsError
from meshkit.requests import LIFETIME_S, RequestId, answer_record, first_answer
from meshkit.table.port import ConditionFailedError, Table
from meshkit.table.sqlite import open_sqlite


class Clock:
    """A clock that a test can set, in seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Give the time."""
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    """Give the table's clock."""
    return Clock()


@pytest.fixture
async def table(tmp_path: Path, clock: Clock) -> AsyncIterator[Table]:
    """Open an empty table."""
    async with open_sqlite(tmp_path / "table.db", clock=clock) as opened:
        yield opened


async def test_the_first_answer_is_kept(table: Table) -> None:
    """An answer is there after it was written, as it was, also when it is empty; before, there is none."""
    for value, answer in (("r-1", b"answer\0"), ("r-2", b"")):
        request = RequestId("7", value, b"body")
        assert await first_answer(table, request) is None
        await table.write(answer_record(request, answer))
        assert await first_answer(table, request) == answer


async def test_only_the_first_answer_is_kept(table: Table) -> None:
    """A second answer to the same id fails, whatever its body, and changes nothing."""
    request = RequestId("7", "r-1", b"body")
    await table.write(answer_record(request, b"first"))
    for body in (b"body", b"other"):
        with pytest.raises(ConditionFailedError):
            await table.write(answer_record(RequestId("7", "r-1", body), b"second"))
    assert await first_answer(table, request) == b"first"


async def test_an_id_is_for_one_body(table: Table) -> None:
    """Asking with another body is ALREADY_EXISTS and names the field."""
    await table.write(answer_record(RequestId("7", "r-1", b"body"), b"answer"))
    with pytest.raises(AlreadyExistsError) as caught:
        await first_answer(table, RequestId("7", "r-1", b"other"))
    assert (caught.value.reason, set(caught.value.fields)) == ("REQUEST_ID_REUSED", {"request_id"})


async def test_an_id_is_for_one_caller(table: Table) -> None:
    """Another caller's same id is another request."""
    await table.write(answer_record(RequestId("7", "r-1", b"body"), b"answer"))
    other = RequestId("8", "r-1", b"other")
    assert await first_answer(table, other) is None
    await table.write(answer_record(other, b"other answer"))
    assert await first_answer(table, other) == b"other answer"


async def test_an_answer_is_kept_for_a_day(table: Table, clock: Clock) -> None:
    """Just before a day is over the answer is there; after it the id is free again."""
    request = RequestId("7", "r-1", b"body")
    await table.write(answer_record(request, b"first"))
    clock.ahead = LIFETIME_S - 60
    assert await first_answer(table, request) == b"first"
    clock.ahead = LIFETIME_S + 1
    assert await first_answer(table, request) is None
    other = RequestId("7", "r-1", b"other")
    await table.write(answer_record(other, b"second"))


@given(
    one=st.tuples(st.text("0123456789"), st.text("ab-_", min_size=1)),
    other=st.tuples(st.text("0123456789"), st.text("ab-_", min_size=1)),
)
def test_different_ids_have_different_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Callers and ids never run into each other."""
    assume(one != other)
    assert RequestId(*one, b"").key != RequestId(*other, b"").key


@given(one=st.binary(), other=st.binary())
def test_fingerprints_tell_bodies_apart(one: bytes, other: bytes) -> None:
    """Equal bodies have equal fingerprints, others have not."""
    assert (RequestId("7", "r", one).fingerprint == RequestId("8", "s", other).fingerprint) == (one == other)
