"""What was left half done by a crash is finished by the sweeper, over a real table and a real queue."""

import asyncio
from itertools import pairwise

import pytest

from fanout_svc import service
from fanout_svc.jobs import JobRepository
from meshkit.clock import now_ms
from meshkit.errors import UnavailableError
from meshkit.lifecycle import background
from tests.fanout.conftest import AUTHOR, Fanout, running_ids
from tests.fanout.ports import Failing, Lost
from tests.fanout.tables import Crashing


async def test_a_crash_between_the_job_and_its_chunks(fanout: Fanout) -> None:
    """A job whose chunks no queue has any more is finished by the sweeper, and what was done is not done again."""
    post_id = fanout.post(AUTHOR, 60)
    chunks = await fanout.crash(post_id, AUTHOR)
    assert await running_ids(fanout) == [post_id]
    await fanout.worker.deliver(chunks[3])
    async with fanout.working():
        assert await fanout.sweeper.sweep() == 1
        assert await fanout.sweeper.sweep() == 0
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert await running_ids(fanout) == []


async def test_a_crash_before_the_end_is_noted(fanout: Fanout) -> None:
    """A job whose chunks are all done, and only the note of it is missing, is noted as done by the sweeper."""
    post_id = fanout.post(AUTHOR, 30)
    chunks = await fanout.crash(post_id, AUTHOR)
    crashing = JobRepository(Crashing(fanout.table))
    job = await fanout.jobs.get(post_id)
    assert job is not None
    for chunk in chunks[:-1]:
        await crashing.finish_chunk(job, chunk.index)
    with pytest.raises(UnavailableError):
        await crashing.finish_chunk(job, chunks[-1].index)
    assert await running_ids(fanout) == [post_id]
    await fanout.sweeper.sweep()
    done = await fanout.jobs.get(post_id)
    assert done is not None
    assert done.finished_ms
    assert await running_ids(fanout) == []
    assert fanout.timelines.pushed == []


async def test_only_late_jobs_are_swept(fanout: Fanout) -> None:
    """Jobs planned just now are left to the queue, also those of posts that are older."""
    old, young = fanout.post(AUTHOR, 3), fanout.post(AUTHOR, 3)
    await fanout.crash(old, AUTHOR)
    await fanout.crash(young, AUTHOR, ago=0)
    async with fanout.working():
        assert await fanout.sweeper.sweep() == 1
    assert await running_ids(fanout) == [young]


async def test_a_poisoned_job_holds_up_no_other(fanout: Fanout) -> None:
    """One sweep finishes all late jobs that can be finished, although others fail; a later sweep finishes those."""
    good, bad = range(1, 11), range(11, 14)
    posts = {author: fanout.post(author, 3) for author in (*bad, *good)}
    for author, post_id in posts.items():
        await fanout.crash(post_id, author)
    fanout.timelines.poison.update(bad)
    async with fanout.working():
        assert await fanout.sweeper.sweep() == len(posts)
        assert [fanout.timelines.times(posts[author]) for author in good] == [fanout.once(author) for author in good]
        fanout.timelines.poison.clear()
        assert await fanout.sweeper.sweep() == len(bad)
    assert [fanout.timelines.times(posts[author]) for author in bad] == [fanout.once(author) for author in bad]


async def test_the_sweeper_ends_when_cancelled(fanout: Fanout) -> None:
    """A cancelled sweeper ends, also when a chunk fails at that very moment: else the service never stops."""
    await fanout.crash(fanout.post(AUTHOR, 3), AUTHOR)
    for moments in range(8):
        chunks = Failing()
        planner = fanout.planner_to(chunks)
        sweeper = asyncio.create_task(fanout.sweeper_of(planner).run())
        await chunks.asked.wait()
        chunks.fail.set()
        for _ in range(moments):
            await asyncio.sleep(0)
        sweeper.cancel()
        done, _ = await asyncio.wait([sweeper], timeout=0.5)
        sweeper.cancel()
        await asyncio.wait([sweeper])
        assert done, f"cancelled {moments} moments after the failure, it went on"


async def test_the_sweeper_outlives_outages(fanout: Fanout) -> None:
    """A sweep that fails, because nobody takes chunks yet, is followed by another."""
    post_id = fanout.post(AUTHOR, 25)
    await fanout.crash(post_id, AUTHOR)
    async with background(fanout.sweeper.run()):
        await asyncio.sleep(0)
        async with fanout.working(), asyncio.timeout(20):
            while await running_ids(fanout):  # noqa: ASYNC110  # the sweeper tells nobody when it is done
                await asyncio.sleep(0)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)


async def test_jobs_that_never_get_done_do_not_starve_the_others(fanout: Fanout) -> None:
    """However many old jobs are stuck, a younger late one has its turn after some sweeps."""
    for _ in range(150):
        await fanout.crash(fanout.post(AUTHOR, 1), AUTHOR)
    young = fanout.post(AUTHOR, 1)
    await fanout.crash(young, AUTHOR)
    failing = Failing()
    failing.fail.set()
    sweeper = fanout.sweeper_of(fanout.planner_to(failing))
    for _ in range(2):
        await sweeper.sweep()
    assert len(failing.tried) == 151


async def test_the_longer_a_job_waits_the_seldomer_it_is_sent(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose chunks are slow is sent again when it is late, and then each time that it got twice as old or a minute older."""
    lost = Lost()
    sweeper = fanout.sweeper_of(fanout.planner_to(lost), pause_seconds=60)
    start = now_ms()
    await fanout.crash(fanout.post(AUTHOR, 3), AUTHOR, ago=0)
    sent = []
    for second in range(1, 200):
        monkeypatch.setattr(service, "now_ms", lambda now=start + second * 1000: now)
        if await sweeper.sweep():
            sent.append(second)
    assert len(lost.chunks) == len(sent)
    assert 10 <= sent[0] <= 12
    assert len(sent) == 5
    assert all(min(age, 60) <= later - age <= min(age, 60) + 2 for age, later in pairwise(sent))


async def test_one_process_at_a_time_sweeps(fanout: Fanout) -> None:
    """Of two sweepers on one table only the one with the lease sends late jobs; when it stops, the other does."""
    first, second = Lost(), Lost()
    await fanout.crash(fanout.post(AUTHOR, 3), AUTHOR)
    async with background(fanout.sweeper_of(fanout.planner_to(first)).run()):
        await _sent(first, 3)
        async with background(fanout.sweeper_of(fanout.planner_to(second)).run()):
            await _sent(first, len(first.chunks) + 20)
            assert second.chunks == []
    async with background(fanout.sweeper_of(fanout.planner_to(second)).run()):
        await _sent(second, 3)


async def _sent(chunks: Lost, count: int) -> None:
    async with asyncio.timeout(20):
        while len(chunks.chunks) < count:  # noqa: ASYNC110  # the sweeper tells nobody what it sent
            await asyncio.sleep(0)
