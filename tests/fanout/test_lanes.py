"""Large jobs never stand in the way of smaller ones."""

import asyncio

from fanout_svc.sending import Sender
from meshkit.lifecycle import background
from tests.fanout.conftest import AUTHOR, Fanout, created, ended, told, until
from tests.fanout.ports import Failing

BIG = range(100, 112)


async def test_posts_pass_large_jobs(fanout: Fanout) -> None:
    """While more large jobs stand still than there are planners and workers, small posts and small jobs are delivered."""
    big = {author: fanout.post(author, 201) for author in BIG}
    let_go = asyncio.Event()
    fanout.timelines.held = dict.fromkeys(BIG, let_go)
    async with fanout.working(posts=2, chunks=2):
        for author, post_id in big.items():
            await told(fanout, post_id, author)
        await until(lambda: sum(fanout.timelines.at_once.values()) == 2)
        for followers in (5, 95, 200):
            post_id = fanout.post(AUTHOR, followers)
            await created(fanout, post_id)
            assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
        assert not any(fanout.timelines.times(post_id) for post_id in big.values())
        let_go.set()
        await ended(fanout, *big.values())
    assert all(fanout.timelines.times(post_id) == fanout.once(author) for author, post_id in big.items())


async def test_large_jobs_have_so_many_workers(fanout: Fanout) -> None:
    """No more chunks of large jobs are delivered at once than there are workers for them."""
    post_id = fanout.post(AUTHOR, 300)
    let_go = fanout.timelines.held[AUTHOR] = asyncio.Event()
    async with fanout.working(chunks=16, bulk=3):
        await told(fanout, post_id)
        await until(lambda: fanout.timelines.at_once[AUTHOR] >= 3)
        let_go.set()
        await ended(fanout, post_id)
    assert fanout.timelines.most_at_once[AUTHOR] == 3


async def test_a_job_is_under_way_once(fanout: Fanout) -> None:
    """A job that is taken while it is being sent is not sent twice; when that has failed it can be taken again."""
    await fanout.crash(fanout.post(AUTHOR, 25), AUTHOR)
    (job,) = await fanout.jobs.get_many(await fanout.jobs.running(after=0, limit=1))
    failing = Failing()
    sender = Sender(fanout.jobs, fanout.ending, failing)
    async with background(sender.run()):
        sender.take(job)
        await failing.asked.wait()
        sender.take(job)
        failing.fail.set()
        await until(lambda: not sender.under_way)
        assert len(failing.tried) == 3
        sender.take(job)
        await until(lambda: len(failing.tried) == 6)


async def test_a_full_lane_is_left_to_the_sweeper(fanout: Fanout) -> None:
    """What a lane has no room for is not lost: its row is there, and it is taken when there is room."""
    posts = [fanout.post(author, 11) for author in range(1, 4)]
    small = Sender(fanout.jobs, fanout.ending, Failing(), waiting=2)
    for author, post_id in enumerate(posts, start=1):
        await fanout.crash(post_id, author)
    for job in await fanout.jobs.get_many(posts):
        small.take(job)
    assert small.under_way == set(posts[:2])
    async with fanout.working():
        await fanout.sweeper.sweep()
        await ended(fanout, *posts)
