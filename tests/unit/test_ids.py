"""Time-ordered ids."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.clock import now_ms
from meshkit.ids import EPOCH_MS, MAX_ID, MAX_WORKER, IdGenerator, first_id_at, id_bytes, id_from, time_ms_of

IDS = st.integers(0, MAX_ID)
TIMES = st.integers(EPOCH_MS, EPOCH_MS + 2**41 - 1)


@given(clock=st.lists(st.integers(EPOCH_MS - 5, EPOCH_MS + 50), min_size=1, max_size=200), worker=st.integers(0, MAX_WORKER))
def test_ids_grow_whatever_the_clock_does(clock: list[int], worker: int) -> None:
    """Each id is larger than all before, also while the clock stands still, goes back, or is before the epoch."""
    times = iter(clock)
    ids = IdGenerator(worker, lambda: next(times))
    made = [ids.next() for _ in clock]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {(each >> 12) & MAX_WORKER for each in made} == {worker}


def test_an_overflowing_sequence_borrows_from_the_next_millisecond() -> None:
    """More than 4,096 ids in a millisecond go on growing, keep their worker, and hand over to the clock when it catches up."""
    now = EPOCH_MS + 1_000
    ids = IdGenerator(5, lambda: now)
    made = [ids.next() for _ in range(3 * 4096)]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {(each >> 12) & MAX_WORKER for each in made} == {5}
    assert {time_ms_of(each) - now for each in made} == {0, 1, 2}
    now += 2
    assert ids.next() > made[-1]
    now += 1
    assert time_ms_of(ids.next()) == now


def test_workers_never_make_the_same_id() -> None:
    """At the same moment every worker's ids are its own."""
    now = now_ms()
    made = [IdGenerator(worker, lambda: now).next() for worker in range(MAX_WORKER + 1)]
    assert len(set(made)) == MAX_WORKER + 1


@pytest.mark.parametrize("worker", [-1, MAX_WORKER + 1])
def test_a_worker_number_has_a_range(worker: int) -> None:
    """A worker number outside 0 to 1,023 is refused."""
    with pytest.raises(ValueError, match="0 to 1023"):
        IdGenerator(worker)


@given(moment=TIMES)
def test_an_id_tells_its_time(moment: int) -> None:
    """An id gives back the millisecond it was made in, lies above first_id_at of it and below that of the next, and fits."""
    made = IdGenerator(MAX_WORKER, lambda: moment).next()
    assert time_ms_of(made) == moment or moment == EPOCH_MS
    assert first_id_at(moment) <= made < first_id_at(moment + 1)
    assert made <= MAX_ID


def test_times_before_the_epoch_are_before_every_id() -> None:
    """A time before ids began gives 0."""
    assert first_id_at(0) == first_id_at(EPOCH_MS) == 0


@given(one=IDS, other=IDS)
def test_encoded_ids_order_as_numbers_do(one: int, other: int) -> None:
    """Eight bytes hold every id, come back as the number, and compare as the numbers."""
    assert len(id_bytes(one)) == 8
    assert id_from(id_bytes(one)) == one
    assert (id_bytes(one) < id_bytes(other)) == (one < other)
