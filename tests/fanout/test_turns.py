"""An author who turns to being pulled is marked in every follower's timeline, and only then is the turn finished."""

import asyncio

import pytest

from fanout_svc.domain import AuthorDelivery, Delivery
from meshkit.errors import UnavailableError
from tests.fanout.conftest import AUTHOR, Fanout, ended, running_ids, turned, until
from tests.fanout.ports import AWAY

TURN = 5


@pytest.mark.parametrize("followers", [0, 6, 10, 11, 95, 300])
async def test_every_follower_is_marked_then_the_turn_is_finished(fanout: Fanout, followers: int) -> None:
    """Whatever the number of followers, each timeline is marked once, no post is pushed, and the author is pulled from then on."""
    event_id = begin(fanout, followers)
    async with fanout.working():
        await turned(fanout, event_id, turn=TURN)
    assert fanout.timelines.times_marked(AUTHOR, TURN) == fanout.once(AUTHOR)
    assert fanout.deliveries.of[AUTHOR] == AuthorDelivery(Delivery.PULL, TURN)
    assert set(fanout.deliveries.finished) == {(AUTHOR, TURN)}
    assert fanout.timelines.authors == fanout.timelines.pushed == []
    job = await fanout.jobs.get(event_id)
    assert (job.turn, job.delivered_count, job.chunk_count) == (TURN, followers, -(-followers // 10)) if job else followers <= 10


@pytest.mark.parametrize("followers", [6, 95])
async def test_a_turn_is_not_finished_before_all_are_marked(fanout: Fanout, followers: int) -> None:
    """While a single timeline may still lack the mark the author stays BOTH."""
    event_id = begin(fanout, followers)
    let_go = fanout.timelines.held[AUTHOR] = asyncio.Event()
    async with fanout.working(), asyncio.TaskGroup() as tasks:
        tasks.create_task(turned(fanout, event_id, turn=TURN))
        await until(lambda: fanout.timelines.at_once[AUTHOR] > 0)
        assert fanout.deliveries.finished == []
        let_go.set()
    assert set(fanout.deliveries.finished) == {(AUTHOR, TURN)}


async def test_a_crash_between_the_last_chunk_and_the_finish(fanout: Fanout) -> None:
    """A turn whose chunks are all done, and that could not be finished, is finished by the sweeper, with nobody marked again."""
    event_id = begin(fanout, 60)
    chunks = await fanout.crash(event_id, AUTHOR, turn=TURN)
    fanout.deliveries.failure = AWAY
    for chunk in chunks[:-1]:
        await fanout.worker.deliver(chunk)
    with pytest.raises(UnavailableError):
        await fanout.worker.deliver(chunks[-1])
    assert await running_ids(fanout) == [event_id]
    marked = list(fanout.timelines.marked)
    fanout.deliveries.failure = None
    async with fanout.working():
        await fanout.sweeper.sweep()
        await ended(fanout, event_id)
    assert set(fanout.deliveries.finished) == {(AUTHOR, TURN)}
    assert fanout.timelines.marked == marked
    assert set(fanout.timelines.times_marked(AUTHOR, TURN)) == set(fanout.once(AUTHOR))


async def test_a_last_chunk_that_comes_again_finishes_the_turn(fanout: Fanout) -> None:
    """When the finish failed, the last chunk's next delivery finishes the turn; nobody has to wait for a sweeper."""
    event_id = begin(fanout, 20)
    first, last = await fanout.crash(event_id, AUTHOR, turn=TURN)
    await fanout.worker.deliver(first)
    fanout.deliveries.failure = AWAY
    with pytest.raises(UnavailableError):
        await fanout.worker.deliver(last)
    fanout.deliveries.failure = None
    await fanout.worker.deliver(last)
    assert set(fanout.deliveries.finished) == {(AUTHOR, TURN)}
    assert await running_ids(fanout) == []


@pytest.mark.parametrize("followers", [6, 95])
async def test_an_outage_does_not_lose_a_turn(fanout: Fanout, followers: int) -> None:
    """Timelines that fail for a while are marked in the end, and the turn is finished."""
    event_id = begin(fanout, followers)
    fanout.timelines.failures.extend([AWAY] * 30)
    async with fanout.working():
        await turned(fanout, event_id, turn=TURN)
    assert set(fanout.timelines.times_marked(AUTHOR, TURN)) == set(fanout.once(AUTHOR))
    assert set(fanout.deliveries.finished) == {(AUTHOR, TURN)}


@pytest.mark.parametrize(
    "now", [AuthorDelivery(Delivery.PUSH, TURN + 1), AuthorDelivery(Delivery.BOTH, TURN + 2), AuthorDelivery(Delivery.PULL, TURN)]
)
async def test_a_turn_that_is_over_is_no_work(fanout: Fanout, now: AuthorDelivery) -> None:
    """Of an author who has turned again, or whose turn is finished, nobody is marked."""
    event_id = begin(fanout, 95)
    fanout.deliveries.of[AUTHOR] = now
    async with fanout.working():
        await turned(fanout, event_id, turn=TURN)
    assert fanout.timelines.marked == []
    assert fanout.deliveries.finished == []
    assert await fanout.jobs.get(event_id) is None
    assert fanout.deliveries.asked == [AUTHOR]


def begin(fanout: Fanout, followers: int) -> int:
    """Let an author with so many followers turn, and give the event's id."""
    event_id = fanout.post(AUTHOR, followers)
    fanout.deliveries.of[AUTHOR] = AuthorDelivery(Delivery.BOTH, TURN)
    return event_id
