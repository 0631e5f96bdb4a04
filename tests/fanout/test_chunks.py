"""How an author's followers are cut into chunks."""

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanout_svc.clients import decode_range, encode_range
from fanout_svc.domain import FollowerRange, Job, Position, chunk_count_for
from meshkit.buckets import BUCKETS, bucket_of
from meshkit.ids import MAX_ID
from tests.fanout.ports import contains

USERS = st.integers(0, MAX_ID)
COUNTS = st.integers(1, 40) | st.integers(1, BUCKETS) | st.sampled_from([BUCKETS - 1, BUCKETS])
POSITIONS = st.builds(Position, st.integers(0, BUCKETS - 1), st.sampled_from([0, 1, MAX_ID]) | USERS)


def job_of(chunk_count: int) -> Job:
    """Make a job of so many chunks."""
    return Job(1, 2, chunk_count, 3, 4)


@settings(deadline=None, database=None)
@given(count=COUNTS, positions=st.lists(POSITIONS, max_size=20), users=st.lists(USERS, max_size=20))
@example(count=1, positions=[Position(0), Position(BUCKETS - 1, MAX_ID)], users=[])
def test_every_position_is_in_exactly_one_chunk(count: int, positions: list[Position], users: list[int]) -> None:
    """Whoever follows, wherever, is in one chunk and no other; also at the chunks' edges and just before them."""
    chunks = list(job_of(count).chunks())
    edges = [chunk.range.start for chunk in chunks if chunk.range.start]
    before = [Position(edge.bucket - 1, MAX_ID) for edge in edges]
    for position in [*positions, *edges[:20], *before[:20], *(Position(bucket_of(user), user) for user in users)]:
        assert sum(contains(chunk.range, position) for chunk in chunks) == 1


@settings(deadline=None, database=None)
@given(count=COUNTS)
def test_chunks_are_numbered_and_meet(count: int) -> None:
    """There are as many chunks as the job says, numbered from 0, and each ends where the next one starts."""
    chunks = list(job_of(count).chunks())
    assert [(chunk.job_id, chunk.author_id, chunk.index, chunk.chunk_count) for chunk in chunks] == [
        (1, 2, index, count) for index in range(count)
    ]
    assert [chunk.range.end for chunk in chunks] == [*(chunk.range.start for chunk in chunks[1:]), None]
    assert chunks[0].range.start is None


@settings(deadline=None, database=None)
@given(count=COUNTS)
def test_chunks_are_alike_in_size(count: int) -> None:
    """No chunk has more than one bucket more than another, and none has none."""
    edges = [0, *(chunk.range.start.bucket for chunk in job_of(count).chunks() if chunk.range.start), BUCKETS]
    sizes = [end - start for start, end in pairwise(edges)]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None, database=None)
@given(start=POSITIONS | st.none(), end=POSITIONS | st.none())
def test_a_range_survives_the_wire(start: Position | None, end: Position | None) -> None:
    """An open end stays open, and the very first position does not become one."""
    assert decode_range(encode_range(FollowerRange(start, end))) == FollowerRange(start, end)


@settings(database=None)
@given(followers=st.integers(0, 10**9), chunk_size=st.integers(1, 10**6))
def test_the_number_of_chunks(followers: int, chunk_size: int) -> None:
    """There is at least one chunk and at most one a bucket; between, as few as keep to the size."""
    count = chunk_count_for(followers, chunk_size)
    assert 1 <= count <= BUCKETS
    assert count == BUCKETS or count * chunk_size >= followers
    assert count == 1 or (count - 1) * chunk_size < followers
