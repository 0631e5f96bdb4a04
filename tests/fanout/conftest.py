"""What tests of fan-out share: a real table, a real queue, and the service's parts over ports in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from feed.event.v1 import event_pb2

from fanout_svc.authors import AuthorRepository
from fanout_svc.clients import encode_delivery
from fanout_svc.consumer import ChunkQueue, Concurrency, consuming
from fanout_svc.domain import Chunk, Delivery, Job, chunk_count_for
from fanout_svc.ending import Ending
from fanout_svc.jobs import SWEEPER_LEASE, JobRepository
from fanout_svc.policy import Policy
from fanout_svc.ports import Chunks, Peers
from fanout_svc.reach import Reach
from fanout_svc.sending import Sender
from fanout_svc.service import Planner, Worker
from fanout_svc.steering import Steering
from fanout_svc.sweeper import Sweeper
from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from meshkit.lease import Lease
from meshkit.lifecycle import background
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import AUTHOR_TURNED, POST_CREATED
from tests.fanout.ports import Deliveries, Followers, Timelines

AUTHOR = 7
POLICY = Policy(pull_threshold=200, push_threshold=160, reads_a_day=10, push_cost_us=3, merge_cost_us=0.3)


@dataclass
class Fanout:
    """Fan-out's parts, as its composition root puts them together; chunks hold about ten followers, calls at most four."""

    table: Table
    queue: MemoryQueue
    followers: Followers = field(default_factory=Followers)
    timelines: Timelines = field(default_factory=Timelines)
    deliveries: Deliveries = field(default_factory=Deliveries)
    # What is made in these tests was made a minute ago.
    ids: IdGenerator = field(default_factory=lambda: IdGenerator(0, lambda: now_ms() - 60_000))

    def __post_init__(self) -> None:
        self.peers = Peers(self.followers, self.timelines, self.deliveries)
        self.jobs = JobRepository(self.table)
        self.authors = AuthorRepository(self.table)
        self.steering = Steering(self.authors, self.deliveries, POLICY)
        self.ending = Ending(self.jobs, self.deliveries, self.steering)
        self.reach = Reach(self.peers, batch_size=4)
        self.worker = Worker(self.jobs, self.reach, self.ending)
        self.sender = self.sender_to(ChunkQueue(self.queue))
        self.planner = self.planner_to(self.sender)
        self.sweeper = self.sweeper_of(self.sender)

    def sender_to(self, chunks: Chunks) -> Sender:
        """Make a sender of chunks to somewhere."""
        return Sender(self.jobs, self.ending, chunks)

    def planner_to(self, sender: Sender) -> Planner:
        """Make a planner that hands its jobs to a sender."""
        return Planner(self.peers, self.jobs, self.reach, sender, self.steering, chunk_size=10)

    def sweeper_of(self, sender: Sender, *, pause_seconds: float = 0) -> Sweeper:
        """Make a sweeper for which jobs are late after ten seconds, and which sends them with every sweep unless it pauses."""
        lease = Lease(self.table, SWEEPER_LEASE, seconds=60)
        return Sweeper(self.jobs, sender, lease, late_seconds=10, every_seconds=0.01, pause_seconds=pause_seconds)

    async def crash(self, post_id: int, author_id: int, *, ago: float = 60, turn: int = 0) -> list[Chunk]:
        """Note a job some seconds ago and send none of its chunks, as a process does that dies then; give the chunks."""
        followers = await self.followers.count(author_id)
        count = max(2, chunk_count_for(followers, 10))
        job = Job(post_id, author_id, count, followers, now_ms() - int(ago * 1000), turn=turn)
        await self.jobs.create(job)
        await self.timelines.push_author(post_id, author_id)
        return list(job.chunks())

    @asynccontextmanager
    async def working(self, *, posts: int = 4, chunks: int = 4, bulk: int = 2) -> AsyncIterator[None]:
        """Plan and deliver what comes by the queue, for the length of a block."""
        concurrency = Concurrency(posts, chunks, bulk)
        async with consuming(self.queue, self.planner, self.worker, concurrency), background(self.sender.run()):
            yield

    def post(self, author_id: int, followers: int) -> int:
        """Let so many follow an author who posts."""
        self.followers.set(author_id, range(author_id * 1_000_000 + 1, author_id * 1_000_000 + followers + 1))
        return self.ids.next()

    def once(self, author_id: int) -> dict[int, int]:
        """Say how often every follower of an author has to get a post: once."""
        return {position.user_id: 1 for position in self.followers.of[author_id]}


async def created(fanout: Fanout, post_id: int, author_id: int = AUTHOR, delivery: Delivery = Delivery.PUSH) -> None:
    """Tell of a new post by the queue, and wait until its job is done, if it has one."""
    await told(fanout, post_id, author_id, delivery)
    await ended(fanout, post_id)


async def told(fanout: Fanout, post_id: int, author_id: int = AUTHOR, delivery: Delivery = Delivery.PUSH) -> None:
    """Tell of a new post by the queue; returns when it is planned."""
    event = event_pb2.PostCreated(post_id=post_id, author_id=author_id, delivery=encode_delivery(delivery))
    await fanout.queue.publish(POST_CREATED, event_pb2.Event(post_created=event).SerializeToString())


async def turned(fanout: Fanout, event_id: int, author_id: int = AUTHOR, turn: int = 1) -> None:
    """Tell by the queue that an author turned, and wait until the job is done, if it has one."""
    event = event_pb2.Event(event_id=event_id, author_turned=event_pb2.AuthorTurned(author_id=author_id, turn=turn))
    await fanout.queue.publish(AUTHOR_TURNED, event.SerializeToString())
    await ended(fanout, event_id)


async def ended(fanout: Fanout, *job_ids: int) -> None:
    """Wait until jobs are done."""

    async def are_done() -> bool:
        return not any(not job.finished_ms for job in await fanout.jobs.get_many(job_ids))

    async with asyncio.timeout(20):
        while not await are_done():  # noqa: ASYNC110  # a job tells nobody when it is done
            await asyncio.sleep(0.001)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # the tests' ports tell nobody
            await asyncio.sleep(0.001)


async def running_ids(fanout: Fanout) -> list[int]:
    """List the running jobs."""
    return await fanout.jobs.running(after=0, limit=100)


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    """Open an empty table."""
    async with open_sqlite(tmp_path / "fanout.db") as opened:
        yield opened


@pytest.fixture
async def fanout(table: Table) -> AsyncIterator[Fanout]:
    """Put fan-out together; deliveries that fail are tried again at once."""
    async with MemoryQueue(pause=lambda _deliveries: 0.0) as queue:
        yield Fanout(table, queue)
