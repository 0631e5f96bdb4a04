"""The hash buckets of users."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from graph_svc.domain import FollowerPosition
from meshkit.buckets import BUCKETS, bucket_of
from meshkit.ids import EPOCH_MS, IdGenerator

IDS = st.integers(0, 2**64 - 1)
EXPECTED = {0: 873, 1: 1023, 2: 581, 1_000_000: 67, 2**63: 691, 2**64 - 1: 796}


def test_buckets_never_change() -> None:
    """Buckets are part of stored keys: these ids have these buckets for ever."""
    assert {user: bucket_of(user) for user in EXPECTED} == EXPECTED


@given(user=IDS)
def test_every_id_has_a_bucket(user: int) -> None:
    """A bucket is 0 to 1,023."""
    assert 0 <= bucket_of(user) < BUCKETS


def test_neighbours_spread_evenly() -> None:
    """Ids that are made one after the other fill all buckets about alike."""
    now = EPOCH_MS
    ids = IdGenerator(0, lambda: now)
    sizes = Counter(bucket_of(ids.next()) for _ in range(40 * BUCKETS))
    assert len(sizes) == BUCKETS
    assert max(sizes.values()) < 3 * 40


@given(one=IDS, other=IDS)
def test_sort_keys_order_as_positions_do(one: int, other: int) -> None:
    """A follower's sort key is ten bytes that order by bucket and then by id, and decode to the position."""
    first, second = FollowerPosition.of(one), FollowerPosition.of(other)
    assert len(first.sort_key) == 10
    assert FollowerPosition.from_sort_key(first.sort_key) == first
    assert (first.sort_key < second.sort_key) == (first < second)
