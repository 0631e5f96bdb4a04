"""A post's way to every follower, over a real table and a real queue, through failures of all that is around."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanout_svc.consumer import ChunkQueue
from fanout_svc.domain import Chunk, FollowerRange, NewPost
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.lifecycle import background
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import DeadLetteredError
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import FANOUT_BULK, FANOUT_CHUNK
from tests.fanout.conftest import AUTHOR, Fanout, created, ended, running_ids, told, until
from tests.fanout.ports import AWAY, Lost


@pytest.mark.parametrize("followers", [0, 1, 9, 10])
async def test_a_small_post_needs_no_job(fanout: Fanout, followers: int) -> None:
    """What fits into one chunk has reached each follower once when its event is handled, and nothing is written for it."""
    post_id = fanout.post(AUTHOR, followers)
    async with fanout.working():
        await told(fanout, post_id)
        assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert fanout.timelines.authors == [(post_id, AUTHOR)]
    assert await fanout.jobs.get(post_id) is None
    assert await fanout.authors.get(AUTHOR) is None
    assert await running_ids(fanout) == []


@pytest.mark.parametrize("followers", [11, 95, 200, 201, 500])
async def test_every_follower_gets_a_post_once(fanout: Fanout, followers: int) -> None:
    """Whatever the number of followers, of chunks and of calls, each follower is pushed to once, after the author."""
    post_id = fanout.post(AUTHOR, followers)
    fanout.timelines.missing = set(list(fanout.once(AUTHOR))[::3])
    async with fanout.working():
        await created(fanout, post_id)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert fanout.timelines.authors == [(post_id, AUTHOR)]
    job = await fanout.jobs.get(post_id)
    assert job is not None
    assert (job.chunk_count, job.follower_count, job.turn) == (-(-followers // 10), followers, 0)
    assert job.delivered_count == followers - len(fanout.timelines.missing)
    assert sum((await fanout.jobs.done_chunks(job)).values()) == job.delivered_count
    assert job.finished_ms >= job.created_ms > 0
    assert await running_ids(fanout) == []


@settings(max_examples=25, deadline=None, database=None)
@given(followers=st.sets(st.integers(1, 2**64 - 1), max_size=250))
@example(followers=set())
@example(followers=set(range(1, 11)))
@example(followers=set(range(1, 12)))
async def test_whoever_follows_gets_a_post_once(followers: set[int]) -> None:
    """Inline or in chunks, of small jobs or large ones: each follower is reached once, and nobody else."""
    with TemporaryDirectory() as folder:
        async with open_sqlite(Path(folder) / "fanout.db") as table, MemoryQueue() as queue:
            fanout = Fanout(table, queue)
            post_id = fanout.ids.next()
            fanout.followers.set(AUTHOR, followers)
            async with fanout.working():
                await created(fanout, post_id)
            assert fanout.timelines.times(post_id) == dict.fromkeys(followers, 1)


async def test_planned_twice_is_delivered_once(fanout: Fanout) -> None:
    """An event that comes again, also after the author won followers, delivers nothing again."""
    post_id = fanout.post(AUTHOR, 60)
    async with fanout.working():
        await created(fanout, post_id)
        once = fanout.once(AUTHOR)
        fanout.followers.set(AUTHOR, range(1, 200))
        await created(fanout, post_id)
    assert fanout.timelines.times(post_id) == once


async def test_planned_twice_at_once_is_one_job(fanout: Fanout) -> None:
    """Two events of the same post at the same time make one job, whose chunks are sent once."""
    post_id = fanout.post(AUTHOR, 60)
    async with fanout.working():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(told(fanout, post_id))
        await ended(fanout, post_id)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert await running_ids(fanout) == []


async def test_a_job_keeps_its_cut(fanout: Fanout) -> None:
    """Planned again with more followers, a job that is not done sends the same chunks as at first, without those done."""
    post_id = fanout.post(AUTHOR, 60)
    first, second = Lost(), Lost()
    await plan_to(fanout, first, post_id)
    await fanout.worker.deliver(first.chunks[2])
    fanout.post(AUTHOR, 600)
    await plan_to(fanout, second, post_id)
    assert second.chunks == [chunk for chunk in first.chunks if chunk.index != 2]


@pytest.mark.parametrize("followers", [8, 45])
@pytest.mark.parametrize("error", [AWAY, OverloadedError("full", reason="FULL")])
async def test_an_outage_is_waited_out(fanout: Fanout, error: Exception, followers: int) -> None:
    """However often timelines are away or full, also more often than the delivery limit, every follower is reached in the end."""
    post_id = fanout.post(AUTHOR, followers)
    fanout.timelines.failures.extend([error] * 50)
    async with fanout.working():
        await created(fanout, post_id)
    assert set(fanout.timelines.times(post_id)) == set(fanout.once(AUTHOR))
    assert await running_ids(fanout) == []


async def test_a_chunk_is_done_only_when_all_of_it_is(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in a chunk's last call leaves the chunk undone; the next try does all of it."""
    post_id = fanout.post(AUTHOR, 12)
    chunks = await fanout.crash(post_id, AUTHOR)
    push, calls = fanout.timelines.push, 0

    async def fail_at_second(post: int, author: int, user_ids: Sequence[int]) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise AWAY
        return await push(post, author, user_ids)

    monkeypatch.setattr(fanout.timelines, "push", fail_at_second)
    with pytest.raises(UnavailableError):
        await fanout.worker.deliver(chunks[0])
    for chunk in chunks[1:]:
        await fanout.worker.deliver(chunk)
    assert await running_ids(fanout) == [post_id]
    await fanout.worker.deliver(chunks[0])
    assert set(fanout.timelines.times(post_id)) == set(fanout.once(AUTHOR))
    assert await running_ids(fanout) == []


async def test_a_finished_job_is_not_delivered_again(fanout: Fanout) -> None:
    """A chunk that comes when its job is done, or that belongs to no job, does nothing."""
    post_id = fanout.post(AUTHOR, 30)
    async with fanout.working():
        await created(fanout, post_id)
        before = list(fanout.timelines.pushed)
        for job_id in (post_id, post_id + 1):
            await ChunkQueue(fanout.queue).send(Chunk(job_id, AUTHOR, 0, 3, FollowerRange()))
    assert fanout.timelines.pushed == before
    assert await fanout.jobs.get(post_id + 1) is None


async def test_a_done_chunk_is_not_delivered_again(fanout: Fanout) -> None:
    """A chunk that comes again while its job runs does nothing."""
    post_id = fanout.post(AUTHOR, 30)
    chunks = await fanout.crash(post_id, AUTHOR)
    await fanout.worker.deliver(chunks[1])
    before = list(fanout.timelines.pushed)
    await fanout.worker.deliver(chunks[1])
    assert fanout.timelines.pushed == before
    assert before


@pytest.mark.parametrize(("followers", "queue", "topic"), [(15, "fanout.chunks", FANOUT_CHUNK), (205, "fanout.bulk", FANOUT_BULK)])
async def test_a_poisoned_chunk_is_a_dead_letter(fanout: Fanout, followers: int, queue: str, topic: str) -> None:
    """A chunk that fails for good is kept with its reason, its job goes on running, and redriving it finishes the job."""
    post_id = fanout.post(AUTHOR, followers)
    chunks = await fanout.crash(post_id, AUTHOR)
    for chunk in chunks[1:]:
        await fanout.worker.deliver(chunk)
    fanout.timelines.poison.add(AUTHOR)
    async with fanout.working():
        with pytest.raises(DeadLetteredError):
            await ChunkQueue(fanout.queue).send(chunks[0])
        (letter,) = await fanout.queue.dead_letters(queue)
        assert (letter.topic, letter.reason) == (topic, "ValueError: poisoned")
        assert await running_ids(fanout) == [post_id]
        fanout.timelines.poison.clear()
        assert await fanout.queue.redrive(queue) == 1
        await ended(fanout, post_id)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert await running_ids(fanout) == []


async def plan_to(fanout: Fanout, lost: Lost, post_id: int) -> None:
    """Plan a post, and lose its chunks."""
    sender = fanout.sender_to(lost)
    await fanout.planner_to(sender).plan(NewPost(post_id, AUTHOR))
    async with background(sender.run()):
        await until(lambda: not sender.under_way)
