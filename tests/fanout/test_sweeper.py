"""What was left half done by a crash is finished by the sweeper, over a real table and a real queue."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fanout_svc import sweeper as sweeping
from fanout_svc.ending import Ending
from fanout_svc.jobs import JobRepository
from fanout_svc.sending import Sender
from fanout_svc.service import Worker
from meshkit.clock import now_ms
from meshkit.errors import UnavailableError
from meshkit.lifecycle import background
from meshkit.queue.memory import MemoryQueue
from meshkit.table.sqlite import open_sqlite
from tests.fanout.conftest import AUTHOR, Fanout, ended, running_ids, until
from tests.fanout.ports import Away, Failing, Lost
from tests.fanout.tables import Crashing


async def test_a_crash_between_the_job_and_its_chunks(fanout: Fanout) -> None:
    """A job whose chunks no queue has any more is finished by the sweeper, and what was done is not done again."""
    post_id = fanout.post(AUTHOR, 60)
    chunks = await fanout.crash(post_id, AUTHOR)
    assert await running_ids(fanout) == [post_id]
    await fanout.worker.deliver(chunks[3])
    async with fanout.working():
        assert await fanout.sweeper.sweep() == 1
        await ended(fanout, post_id)
        assert await fanout.sweeper.sweep() == 0
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert await running_ids(fanout) == []


async def test_a_crash_before_the_end_is_noted(fanout: Fanout) -> None:
    """A job whose chunks are all done, and only the note of it is missing, is noted as done by the sweeper."""
    post_id = fanout.post(AUTHOR, 30)
    chunks = await fanout.crash(post_id, AUTHOR)
    jobs = JobRepository(Crashing(fanout.table))
    crashing = Worker(jobs, fanout.reach, Ending(jobs, fanout.deliveries, fanout.steering))
    for chunk in chunks[:-1]:
        await crashing.deliver(chunk)
    with pytest.raises(UnavailableError):
        await crashing.deliver(chunks[-1])
    assert await running_ids(fanout) == [post_id]
    pushed = list(fanout.timelines.pushed)
    async with fanout.working():
        await fanout.sweeper.sweep()
        await ended(fanout, post_id)
    assert await running_ids(fanout) == []
    assert fanout.timelines.pushed == pushed


async def test_only_late_jobs_are_swept(fanout: Fanout) -> None:
    """Jobs planned just now are left to the queue, also those of posts that are older."""
    old, young = fanout.post(AUTHOR, 3), fanout.post(AUTHOR, 3)
    await fanout.crash(old, AUTHOR)
    await fanout.crash(young, AUTHOR, ago=0)
    async with fanout.working():
        assert await fanout.sweeper.sweep() == 1
        await ended(fanout, old)
    assert await running_ids(fanout) == [young]


async def test_a_poisoned_job_holds_up_no_other(fanout: Fanout) -> None:
    """One sweep finishes all late jobs that can be finished, although others fail; a later sweep finishes those."""
    good, bad = range(1, 11), range(11, 14)
    posts = {author: fanout.post(author, 13) for author in (*bad, *good)}
    for author, post_id in posts.items():
        await fanout.crash(post_id, author)
    fanout.timelines.poison.update(bad)
    async with fanout.working():
        assert await fanout.sweeper.sweep() == len(posts)
        await ended(fanout, *(posts[author] for author in good))
        assert [fanout.timelines.times(posts[author]) for author in good] == [fanout.once(author) for author in good]
        await until(lambda: not fanout.sender.under_way)
        fanout.timelines.poison.clear()
        assert await fanout.sweeper.sweep() == len(bad)
        await ended(fanout, *posts.values())
    assert [fanout.timelines.times(posts[author]) for author in bad] == [fanout.once(author) for author in bad]


async def test_the_sender_ends_when_cancelled(fanout: Fanout) -> None:
    """A cancelled sender ends, also when a chunk fails at that very moment: else the service never stops."""
    await fanout.crash(fanout.post(AUTHOR, 3), AUTHOR)
    for moments in range(8):
        chunks = Failing()
        sender = fanout.sender_to(chunks)
        await fanout.sweeper_of(sender).sweep()
        sending = asyncio.create_task(sender.run())
        await chunks.asked.wait()
        chunks.fail.set()
        for _ in range(moments):
            await asyncio.sleep(0)
        sending.cancel()
        done, _ = await asyncio.wait([sending], timeout=0.5)
        sending.cancel()
        await asyncio.wait([sending])
        assert done, f"cancelled {moments} moments after the failure, it went on"


async def test_the_sweeper_outlives_outages(fanout: Fanout) -> None:
    """A job that nobody takes chunks of yet is sent again by a later sweep."""
    post_id = fanout.post(AUTHOR, 25)
    await fanout.crash(post_id, AUTHOR)
    failing = Failing()
    failing.fail.set()
    sender = fanout.sender_to(failing)
    async with background(sender.run(), fanout.sweeper_of(sender).run()):
        await until(lambda: len(failing.tried) >= 6)
    async with background(fanout.sweeper.run()), fanout.working():
        await ended(fanout, post_id)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)


async def test_jobs_that_never_get_done_do_not_starve_the_others(fanout: Fanout) -> None:
    """However many old jobs are stuck, a younger late one has its turn after some sweeps."""
    for _ in range(150):
        await fanout.crash(fanout.post(AUTHOR, 1), AUTHOR)
    young = fanout.post(AUTHOR, 1)
    await fanout.crash(young, AUTHOR)
    failing = Failing()
    failing.fail.set()
    sender = fanout.sender_to(failing)
    sweeper = fanout.sweeper_of(sender)
    for _ in range(2):
        await sweeper.sweep()
    assert len(sender.under_way) == 151


async def test_the_longer_a_job_waits_the_seldomer_it_is_sent(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose chunks are slow is sent again when it is late, and then each time that it got twice as old or a minute older."""
    sweeper = fanout.sweeper_of(fanout.sender_to(Lost()), pause_seconds=60)
    start = now_ms()
    await fanout.crash(fanout.post(AUTHOR, 3), AUTHOR, ago=0)
    sent = []
    for second in range(1, 200):
        monkeypatch.setattr(sweeping, "now_ms", lambda now=start + second * 1000: now)
        if await sweeper.sweep():
            sent.append(second)
    assert 10 <= sent[0] <= 12
    assert len(sent) == 5
    assert all(min(age, 60) <= later - age <= min(age, 60) + 2 for age, later in pairwise(sent))


async def test_what_was_not_queued_is_sent_with_the_next_sweep(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the broker was away, a job whose chunks it did not take is sent by the first sweep after that, and once."""
    broker = Away()
    sender = fanout.sender_to(broker)
    sweeper = fanout.sweeper_of(sender, pause_seconds=600)
    start = now_ms()
    await fanout.crash(fanout.post(AUTHOR, 30), AUTHOR, ago=0)
    took = []
    async with background(sender.run()):
        for second in range(0, 355, 5):
            monkeypatch.setattr(sweeping, "now_ms", lambda now=start + second * 1000: now)
            broker.away = second < 180
            await sweeper.sweep()
            await until(lambda: not sender.under_way)
            took.extend([second] * len(broker.chunks))
            broker.chunks.clear()
    assert took == [180, 180, 180]


async def test_a_job_that_fails_under_the_sweeper_is_sent_with_the_next_sweep(fanout: Fanout) -> None:
    """A job that turns late while it is being sent, and then is not queued, does not wait as if it had been."""
    post_id = fanout.post(AUTHOR, 30)
    await fanout.crash(post_id, AUTHOR)
    failing = Failing()
    sender = fanout.sender_to(failing)
    sweeper = fanout.sweeper_of(sender, pause_seconds=600)
    async with background(sender.run()):
        for job in await fanout.jobs.get_many([post_id]):
            sender.take(job)
        await failing.asked.wait()
        assert await sweeper.sweep() == 1
        failing.fail.set()
        await until(lambda: not sender.under_way)
        assert await sweeper.sweep() == 1


async def test_a_job_without_room_is_sent_with_the_next_sweep(fanout: Fanout) -> None:
    """A job that its lane has no room for does not wait as if it had been queued."""
    for author in range(1, 4):
        await fanout.crash(fanout.post(author, 11), author)
    sweeper = fanout.sweeper_of(Sender(fanout.jobs, fanout.ending, Lost(), waiting=2), pause_seconds=600)
    assert [await sweeper.sweep() for _ in range(3)] == [3, 1, 1]


async def test_a_poisoned_job_is_sent_ever_more_seldom(fanout: Fanout) -> None:
    """A job that was queued, and of which a chunk was given up, is not sent with each sweep."""
    await fanout.crash(fanout.post(AUTHOR, 30), AUTHOR)
    fanout.timelines.poison.add(AUTHOR)
    sweeper = fanout.sweeper_of(fanout.sender, pause_seconds=600)
    async with fanout.working():
        assert await sweeper.sweep() == 1
        await until(lambda: not fanout.sender.under_way)
        assert await fanout.queue.dead_letters("fanout.chunks")
        assert await sweeper.sweep() == 0


async def test_jobs_of_before_a_clock_went_back_are_swept(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was noted, or sent, before the clock went back ten minutes does not wait until the clock has caught up."""
    noted, sent = fanout.post(AUTHOR, 3), fanout.post(AUTHOR, 3)
    await fanout.crash(sent, AUTHOR)
    sweeper = fanout.sweeper_of(fanout.sender_to(Lost()), pause_seconds=600)
    start = now_ms()
    assert await sweeper.sweep() == 1
    await fanout.crash(noted, AUTHOR, ago=0)
    times = []
    for second in range(-600, -540, 5):
        monkeypatch.setattr(sweeping, "now_ms", lambda now=start + second * 1000: now)
        times.extend([second] * await sweeper.sweep())
    assert times == [-585, -585, -565, -565]


async def test_a_chunk_that_was_given_up_is_left_to_whoever_puts_it_back(fanout: Fanout) -> None:
    """A chunk that is noted as given up is not done when it is sent again, only when it was put back; then its job ends."""
    post_id = fanout.post(AUTHOR, 60)
    chunks = await fanout.crash(post_id, AUTHOR)
    await fanout.worker.give_up(chunks[2])
    for chunk in chunks:
        await fanout.worker.deliver(chunk)
    assert 0 < fanout.timelines.times(post_id).total() < 60
    assert await running_ids(fanout) == [post_id]
    await fanout.worker.deliver(chunks[2], anyway=True)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert await running_ids(fanout) == []


async def test_a_chunk_is_not_given_up_for_ever(tmp_path: Path) -> None:
    """A chunk that was given up is done when it is sent again a day later, not before: a broker may have lost its dead letter."""
    ahead = timedelta()
    async with (
        open_sqlite(tmp_path / "table.db", clock=lambda: time.time() + ahead.total_seconds()) as table,
        MemoryQueue() as queue,
    ):
        fanout = Fanout(table, queue)
        post_id = fanout.post(AUTHOR, 60)
        chunks = await fanout.crash(post_id, AUTHOR)
        for chunk in chunks:
            await fanout.worker.give_up(chunk)
        for ahead, reached in ((timedelta(hours=23), 0), (timedelta(hours=25), 60)):  # noqa: B007  # the table's clock reads it
            for chunk in chunks:
                await fanout.worker.deliver(chunk)
            assert fanout.timelines.times(post_id).total() == reached


async def test_one_process_at_a_time_sweeps(fanout: Fanout) -> None:
    """Of two sweepers on one table only the one with the lease sends late jobs; when it stops, the other does."""
    first, second = Lost(), Lost()
    await fanout.crash(fanout.post(AUTHOR, 3), AUTHOR)
    async with sweeping_to(fanout, first):
        await until(lambda: len(first.chunks) >= 3)
        async with sweeping_to(fanout, second):
            sent = len(first.chunks)
            await until(lambda: len(first.chunks) >= sent + 20)
            assert second.chunks == []
    async with sweeping_to(fanout, second):
        await until(lambda: len(second.chunks) >= 3)


@asynccontextmanager
async def sweeping_to(fanout: Fanout, chunks: Lost) -> AsyncIterator[None]:
    """Run a sweeper whose jobs' chunks are lost."""
    sender = fanout.sender_to(chunks)
    async with background(sender.run(), fanout.sweeper_of(sender).run()):
        yield
