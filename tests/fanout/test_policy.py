"""Who is pushed and who is pulled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout_svc.domain import Delivery
from fanout_svc.policy import Author, Policy

DAY = 86_400_000
NOW = 1_800_000_000_000
# One post a day costs 5 a follower, the reads of a day 10: two posts a day cost the same as ten reads.
POLICY = Policy(pull_threshold=1_000, push_threshold=800, reads_a_day=10, push_cost_us=5, merge_cost_us=1)
PUSH, PULL, BOTH = Delivery.PUSH, Delivery.PULL, Delivery.BOTH
AUTHORS = st.builds(
    Author,
    author_id=st.just(7),
    follower_count=st.integers(0, 30_000),
    pushed_count=st.just(0),
    gap_ms=st.integers(0, 5 * DAY),
    last_post_ms=st.just(NOW),
)


def author(active: int, posts_a_day: float = 100.0) -> Author:
    """Make an author whose followers are all active."""
    return Author(7, active, gap_ms=int(DAY / posts_a_day), last_post_ms=NOW)


@pytest.mark.parametrize(
    ("active", "posts_a_day", "now", "expected"),
    [
        (0, 100, PUSH, PUSH),
        (999, 100, PUSH, PUSH),
        (1_000, 100, PUSH, PULL),
        (1_000, 2.1, PUSH, PULL),
        (1_000, 1.9, PUSH, PUSH),  # pulling would cost more
        (9_999, 1.9, PUSH, PUSH),
        (10_000, 1.9, PUSH, PULL),  # pushing would take too long
        (799, 100, PULL, PUSH),
        (800, 100, PULL, PULL),
        (999, 1.9, PULL, PULL),  # between the thresholds
        (5_000, 1.1, PULL, PULL),  # pulling costs more, but not twice as much
        (5_000, 0.9, PULL, PUSH),
        (8_000, 0.1, PULL, PULL),  # pushing would take too long
        (7_999, 0.1, PULL, PUSH),
        (799, 100, BOTH, PUSH),
        (1_000, 100, BOTH, PULL),
    ],
)
def test_decisions(active: int, posts_a_day: float, now: Delivery, expected: Delivery) -> None:
    """The thresholds, the costs and what holds now decide as documented."""
    assert POLICY.decide(author(active, posts_a_day), now, NOW) is expected


@given(seen=AUTHORS)
def test_a_decision_stands(seen: Author) -> None:
    """What was decided is decided again while nothing changes, whatever it was before."""
    for current in Delivery:
        decided = POLICY.decide(seen, current, NOW)
        assert POLICY.decide(seen, decided, NOW) is decided


@given(seen=AUTHORS, changes=st.lists(st.tuples(st.integers(-150, 150), st.floats(0.9, 1.1)), max_size=40))
def test_nobody_turns_to_and_fro(seen: Author, changes: list[tuple[int, float]]) -> None:
    """Between two turns an author has crossed from one threshold to the other, or the costs have changed by the clear factor."""
    now, at = PUSH, author(0, 1)
    for step, faster in changes:
        count = max(0, seen.follower_count + step)
        seen = Author(7, count, gap_ms=max(1, int(seen.gap_ms * faster)), last_post_ms=NOW)
        decided = POLICY.decide(seen, now, NOW)
        if decided is not now and at.follower_count:
            ratio = seen.posts_a_day(NOW) / at.posts_a_day(NOW)
            crossed = {each * 800 <= seen.follower_count < each * 1_000 for each in (1, 10)}
            apart = (seen.follower_count - at.follower_count) * (1 if decided is PULL else -1)
            assert apart > 0 or max(ratio, 1 / ratio) >= 1.99, crossed
        if decided is not now:
            now, at = decided, seen


@pytest.mark.parametrize(
    ("followers", "pushed", "reached", "active"),
    [(100, 0, 0, 100), (100, 80, 20, 25), (100, 100, 0, 0), (50, 100, 30, 15), (100, 10, 20, 100)],
)
def test_active_followers(followers: int, pushed: int, reached: int, active: int) -> None:
    """Active is the share of today's followers that the last push reached; all before the first push, and never more than all."""
    assert Author(7, followers).pushed(pushed, reached).active_count == active


def test_posts_a_day() -> None:
    """A regular author's rate is exact; a change shows within some posts; silence counts; one post alone is one a day."""
    once = Author(7, 100).posted(NOW, 100)
    assert once.posts_a_day(NOW) == 1
    regular = once
    for hour in range(1, 5):
        regular = regular.posted(NOW + hour * 3_600_000, 100)
    last = regular.last_post_ms
    assert regular.posts_a_day(last) == pytest.approx(24)
    faster = regular
    for minute in range(1, 20):
        faster = faster.posted(last + minute * 60_000, 100)
    assert faster.posts_a_day(faster.last_post_ms) > 1_000
    assert regular.posts_a_day(last + 10 * DAY) == pytest.approx(0.1)


@given(gaps=st.lists(st.integers(0, 100 * DAY), max_size=30))
def test_the_rate_is_between_the_slowest_and_the_fastest(gaps: list[int]) -> None:
    """However irregularly somebody posts, the rate is that of no gap outside of those seen."""
    seen, at = Author(7, 100).posted(NOW, 100), NOW
    for gap in gaps:
        at += gap
        seen = seen.posted(at, 100)
    if gaps:
        assert min(gaps) - 1 <= seen.gap_ms <= max(*gaps, 1) + 1


def test_another_threshold_keeps_the_distance() -> None:
    """A preview's thresholds are as far apart as those that are set."""
    assert POLICY.at(5_000) == Policy(5_000, 4_000, 10, 5, 1)
