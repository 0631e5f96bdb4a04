"""A post's way to every follower, over a real table and a real queue, through failures of all that is around."""

import asyncio
from collections.abc import Sequence

import pytest
from feed.event.v1 import event_pb2
from feed.fanout.v1 import fanout_service_pb2

from fanout_svc.consumer import ChunkQueue
from fanout_svc.domain import Chunk, FollowerRange
from fanout_svc.jobs import JobRepository
from fanout_svc.servicer import FanoutServicer
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.lifecycle import background
from meshkit.paging import PageTokens
from meshkit.queue.port import DeadLetteredError
from meshkit.table.port import Item, Key, Operation, Table
from meshkit.topics import FANOUT_CHUNK, POST_CREATED
from tests.fanout.conftest import Fanout
from tests.fanout.ports import Failing, Lost

AUTHOR = 7
AWAY = UnavailableError("away", reason="AWAY")


async def created(fanout: Fanout, post_id: int, author_id: int = AUTHOR) -> None:
    """Tell of a new post by the queue; returns when its delivery is done."""
    event = event_pb2.Event(post_created=event_pb2.PostCreated(post_id=post_id, author_id=author_id))
    await fanout.queue.publish(POST_CREATED, event.SerializeToString())


async def running_ids(fanout: Fanout) -> list[int]:
    """List the running jobs."""
    return await fanout.jobs.running(after=0, limit=100)


@pytest.mark.parametrize("followers", [0, 1, 9, 10, 11, 95, 500])
async def test_every_follower_gets_a_post_once(fanout: Fanout, followers: int) -> None:
    """Whatever the number of followers, of chunks and of calls, each follower is pushed to once, after the author."""
    post_id = fanout.post(AUTHOR, followers)
    async with fanout.working():
        await created(fanout, post_id)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert fanout.timelines.authors == [(post_id, AUTHOR)]
    job = await fanout.jobs.get(post_id)
    assert job is not None
    assert (job.chunk_count, job.follower_count) == (max(1, -(-followers // 10)), followers)
    assert await fanout.jobs.done_chunks(job) == set(range(job.chunk_count))
    assert job.finished_ms >= job.created_ms > 0
    assert await running_ids(fanout) == []


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
    """Two events of the same post at the same time make one job, cut in one way, and reach every follower."""
    post_id = fanout.post(AUTHOR, 60)
    async with fanout.working(), asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(created(fanout, post_id))
    assert set(fanout.timelines.times(post_id)) == set(fanout.once(AUTHOR))
    assert await running_ids(fanout) == []


async def test_a_job_keeps_its_cut(fanout: Fanout) -> None:
    """Planned again with more followers, a job that is not done sends the same chunks as at first, without those done."""
    post_id = fanout.post(AUTHOR, 60)
    first, second = Lost(), Lost()
    await fanout.planner_to(first).plan(post_id, AUTHOR)
    await fanout.worker.deliver(first.chunks[2])
    fanout.post(AUTHOR, 600)
    await fanout.planner_to(second).plan(post_id, AUTHOR)
    assert second.chunks == [chunk for chunk in first.chunks if chunk.index != 2]


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
    crashing = JobRepository(_Crashing(fanout.table))
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


@pytest.mark.parametrize("error", [AWAY, OverloadedError("full", reason="FULL")])
async def test_an_outage_is_waited_out(fanout: Fanout, error: Exception) -> None:
    """However often timelines are away or full, also more often than the delivery limit, every follower is reached in the end."""
    post_id = fanout.post(AUTHOR, 45)
    fanout.timelines.failures.extend([error] * 50)
    async with fanout.working():
        await created(fanout, post_id)
    assert set(fanout.timelines.times(post_id)) == set(fanout.once(AUTHOR))
    assert await running_ids(fanout) == []


async def test_a_chunk_is_done_only_when_all_of_it_is(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in a chunk's last call leaves the chunk undone; the next try does all of it."""
    post_id = fanout.post(AUTHOR, 6)
    (chunk,) = await fanout.crash(post_id, AUTHOR)
    push, calls = fanout.timelines.push, 0

    async def fail_at_second(post: int, author: int, user_ids: Sequence[int]) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise AWAY
        return await push(post, author, user_ids)

    monkeypatch.setattr(fanout.timelines, "push", fail_at_second)
    with pytest.raises(UnavailableError):
        await fanout.worker.deliver(chunk)
    assert await running_ids(fanout) == [post_id]
    await fanout.worker.deliver(chunk)
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


async def test_a_poisoned_chunk_is_a_dead_letter(fanout: Fanout) -> None:
    """A chunk that fails for good is kept with its reason, its job goes on running, and redriving it finishes the job."""
    post_id = fanout.post(AUTHOR, 5)
    (chunk,) = await fanout.crash(post_id, AUTHOR)
    fanout.timelines.poison.add(AUTHOR)
    async with fanout.working():
        with pytest.raises(DeadLetteredError):
            await ChunkQueue(fanout.queue).send(chunk)
        (letter,) = await fanout.queue.dead_letters("fanout.chunks")
        assert (letter.topic, letter.reason) == (FANOUT_CHUNK, "ValueError: poisoned")
        assert await running_ids(fanout) == [post_id]
        fanout.timelines.poison.clear()
        assert await fanout.queue.redrive("fanout.chunks") == 1
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert await running_ids(fanout) == []


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


async def test_running_jobs_are_listed_in_order(fanout: Fanout) -> None:
    """Running jobs come by id, from anywhere on, as many as asked for; done chunks are counted."""
    ids = [fanout.post(author, 30) for author in range(1, 41)]
    chunks = [await fanout.crash(post_id, author) for author, post_id in enumerate(ids, start=1)]
    assert await fanout.jobs.running(after=0, limit=100) == ids
    assert await fanout.jobs.running(after=ids[9], limit=5) == ids[10:15]
    await fanout.worker.deliver(chunks[0][1])
    job = await fanout.jobs.get(ids[0])
    assert job is not None
    assert await fanout.jobs.done_chunks(job) == {1}


async def test_a_job_that_finishes_does_not_end_the_list(fanout: Fanout) -> None:
    """A page says that there are more also when one of its jobs finishes while they are read."""
    ids = [fanout.post(author, 3) for author in range(1, 6)]
    chunks = [await fanout.crash(post_id, author) for author, post_id in enumerate(ids, start=1)]
    servicer = FanoutServicer(JobRepository(_Finishing(fanout, chunks[0][0])), PageTokens([b"key"]))
    shown, token, more = [], "", True
    while more:
        request = fanout_service_pb2.ListRunningJobsRequest(page_size=2, page_token=token)
        page = await servicer.ListRunningJobs(request, NotImplemented)
        shown += [job.job_id for job in page.jobs]
        token = page.next_page_token
        more = bool(token)
    assert shown == ids[1:]


class _Through:
    """A table that passes everything on. It implements the port Table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, key: Key) -> Item | None:
        """Give an item."""
        return await self._table.get(key)

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Give items."""
        return await self._table.get_many(keys)

    async def query(
        self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int, reverse: bool = False
    ) -> list[Item]:
        """Give a range."""
        return await self._table.query(partition, start=start, end=end, limit=limit, reverse=reverse)

    async def write(self, *operations: Operation) -> None:
        """Write."""
        await self._table.write(*operations)


class _Crashing(_Through):
    """A table that is away for the write that ends a job."""

    async def write(self, *operations: Operation) -> None:
        """Write, unless it is the end."""
        if len(operations) > 1:
            raise AWAY
        await super().write(*operations)


class _Finishing(_Through):
    """A table under whose reader a job is finished: after its key was listed, before the job is read."""

    def __init__(self, fanout: Fanout, chunk: Chunk) -> None:
        super().__init__(fanout.table)
        self._fanout = fanout
        self._chunk: Chunk | None = chunk

    async def get(self, key: Key) -> Item | None:
        """Give an item, after the job was finished."""
        if self._chunk:
            chunk, self._chunk = self._chunk, None
            await self._fanout.worker.deliver(chunk)
        return await super().get(key)
