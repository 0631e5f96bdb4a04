"""What is seen of large authors turns them, and shows what another threshold would do; over a real table."""

import asyncio
from collections.abc import Callable

import pytest

from fanout_svc.domain import AuthorDelivery, Delivery
from fanout_svc.policy import Author
from meshkit.clock import now_ms
from meshkit.ids import IdGenerator, time_ms_of
from tests.fanout.conftest import AUTHOR, POLICY, Fanout, created, running_ids, told
from tests.fanout.ports import AWAY

PUSH, PULL, BOTH = Delivery.PUSH, Delivery.PULL, Delivery.BOTH
HOUR = 3_600_000


class Hourly:
    """Makes the ids of posts that are an hour apart, of late."""

    def __init__(self) -> None:
        self._now = now_ms() - 100 * HOUR
        self._ids = IdGenerator(0, lambda: self._now)

    def next(self) -> int:
        """Give the next."""
        self._now += HOUR
        return self._ids.next()


async def test_an_author_above_the_threshold_is_pulled(fanout: Fanout) -> None:
    """An author who posts often to enough active followers turns to pull, by the second post; no post at hand is lost by that."""
    hourly = Hourly()
    fanout.post(AUTHOR, 250)
    async with fanout.working(bulk=8):
        for post_id in (first := hourly.next(), second := hourly.next()):
            await created(fanout, post_id)
    assert set(fanout.deliveries.turned) == {(AUTHOR, PULL)}
    for post_id in (first, second):
        assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)


async def test_who_is_hardly_read_is_pushed(fanout: Fanout) -> None:
    """Of many followers only those who have a timeline count."""
    hourly = Hourly()
    fanout.post(AUTHOR, 250)
    fanout.timelines.missing = set(list(fanout.once(AUTHOR))[:190])
    async with fanout.working(bulk=8):
        for _ in range(3):
            await created(fanout, hourly.next())
    assert fanout.deliveries.turned == []
    seen = await fanout.authors.get(AUTHOR)
    assert seen is not None
    assert (seen.follower_count, seen.active_count) == (250, 60)
    assert seen.posts_a_day(seen.last_post_ms) == pytest.approx(24, rel=0.01)


async def test_a_pulled_author_turns_back(fanout: Fanout) -> None:
    """A pulled author who lost most followers turns to push, also when no longer large enough to be watched otherwise."""
    fanout.deliveries.of[AUTHOR] = AuthorDelivery(PULL, 3)
    post_id = fanout.post(AUTHOR, 7)
    async with fanout.working():
        await told(fanout, post_id, delivery=PULL)
    assert fanout.deliveries.turned == [(AUTHOR, PUSH)]


async def test_the_last_known_share_holds_for_pulled_authors(fanout: Fanout) -> None:
    """A pulled author's active followers are today's, in the share that the last push reached."""
    hourly = Hourly()
    fanout.deliveries.of[AUTHOR] = AuthorDelivery(PULL, 3)
    await fanout.steering.reached(AUTHOR, 200, 100)
    post_id = hourly.next()
    fanout.followers.set(AUTHOR, range(1, 301))
    async with fanout.working():
        await told(fanout, post_id, delivery=PULL)
    seen = await fanout.authors.get(AUTHOR)
    assert seen is not None
    assert seen.active_count == 150
    assert fanout.deliveries.turned == [(AUTHOR, PUSH)]


async def test_an_event_that_comes_again_counts_once(fanout: Fanout) -> None:
    """Posts that come twice, or late, do not make an author look busier."""
    hourly = Hourly()
    fanout.post(AUTHOR, 150)
    first, second = hourly.next(), hourly.next()
    async with fanout.working():
        await created(fanout, second)
        before = await fanout.authors.get(AUTHOR)
        for post_id in (second, first, second):
            await created(fanout, post_id)
    seen = await fanout.authors.get(AUTHOR)
    assert before is not None
    assert seen is not None
    assert (seen.gap_ms, seen.last_post_ms) == (before.gap_ms, before.last_post_ms) == (0, time_ms_of(second))


async def test_what_is_decided_by_an_operator_stays(fanout: Fanout) -> None:
    """A forced author is asked to turn in vain, and posts as before."""
    hourly = Hourly()
    fanout.post(AUTHOR, 250)
    fanout.deliveries.forced.add(AUTHOR)
    async with fanout.working(bulk=8):
        for _ in range(3):
            await created(fanout, last := hourly.next())
    assert AUTHOR not in fanout.deliveries.of
    assert fanout.timelines.times(last) == fanout.once(AUTHOR)


async def test_deliveries_do_not_need_the_steering(fanout: Fanout) -> None:
    """While nobody answers how authors are delivered, pushed posts get through at once, and the next post decides."""
    hourly = Hourly()
    fanout.post(AUTHOR, 250)
    fanout.deliveries.failure = AWAY
    async with fanout.working(bulk=8):
        for _ in range(2):
            await created(fanout, post_id := hourly.next())
            assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
            assert fanout.timelines.authors.count((post_id, AUTHOR)) == 1
        fanout.deliveries.failure = None
        await created(fanout, hourly.next())
    assert fanout.deliveries.turned == [(AUTHOR, PULL)]


async def test_changes_at_the_same_time_all_count(fanout: Fanout) -> None:
    """What several processes see of an author at once is all kept."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(fanout.authors.update(AUTHOR, one_more))
    seen = await fanout.authors.get(AUTHOR)
    assert seen is not None
    assert seen.follower_count == 3


async def test_the_largest_authors_are_listed(fanout: Fanout) -> None:
    """Authors are listed by what they are now, each once, largest first, and only so many."""
    for author_id, counts in ((1, (500, 4_000)), (2, (90_000, 200)), (3, (1_000,)), (4, (30_000, 29_999))):
        for count in counts:
            await fanout.authors.update(author_id, as_seen(Author(author_id, count)))
    assert [each.author_id for each in await fanout.authors.largest(10)] == [4, 1, 3, 2]
    assert [each.follower_count for each in await fanout.authors.largest(2)] == [29_999, 4_000]


async def test_a_preview_adds_up(fanout: Fanout) -> None:
    """A preview tells each author's costs now and then, and sums of deliveries and merges a day; nothing changes."""
    for author_id, count in ((1, 100), (2, 400), (3, 10_000)):
        await fanout.authors.update(author_id, as_seen(Author(author_id, count, gap_ms=HOUR, last_post_ms=now_ms())))
    fanout.deliveries.of[3] = AuthorDelivery(PULL, 1)
    preview = await fanout.steering.preview(0)
    assert preview.threshold == POLICY.pull_threshold
    assert [(each.author.author_id, each.delivery, each.preview) for each in preview.authors] == [
        (3, PULL, PULL),
        (2, PUSH, PULL),
        (1, PUSH, PUSH),
    ]
    assert preview.deliveries_a_day == pytest.approx(24 * 100)
    assert preview.merges_a_day == pytest.approx(10 * 10_400)
    higher = await fanout.steering.preview(100_000)
    assert [each.preview for each in higher.authors] == [PUSH] * 3
    assert higher.deliveries_a_day == pytest.approx(24 * 10_500)
    assert higher.merges_a_day == 0
    assert fanout.deliveries.turned == []
    assert await running_ids(fanout) == []


def as_seen(author: Author) -> Callable[[Author | None], Author]:
    """Let an author be seen so."""
    return lambda _known: author


def one_more(known: Author | None) -> Author:
    """Count a change."""
    return Author(AUTHOR, known.follower_count + 1 if known else 1)
