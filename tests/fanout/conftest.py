"""What tests of fan-out share: a real table, a real queue, and the service's parts over ports in memory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from feed.event.v1 import event_pb2

from fanout_svc import service
from fanout_svc.consumer import ChunkQueue, consuming
from fanout_svc.domain import Chunk
from fanout_svc.jobs import SWEEPER_LEASE, JobRepository
from fanout_svc.ports import Chunks
from fanout_svc.service import Planner, Sweeper, Worker
from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from meshkit.lease import Lease
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import POST_CREATED
from tests.fanout.ports import Followers, Lost, Timelines

AUTHOR = 7


@dataclass
class Fanout:
    """Fan-out's parts, as its composition root puts them together; chunks hold about ten followers, calls at most four."""

    table: Table
    queue: MemoryQueue
    followers: Followers = field(default_factory=Followers)
    timelines: Timelines = field(default_factory=Timelines)
    # What is made in these tests was made a minute ago.
    ids: IdGenerator = field(default_factory=lambda: IdGenerator(0, lambda: now_ms() - 60_000))

    def __post_init__(self) -> None:
        self.jobs = JobRepository(self.table)
        self.planner = self.planner_to(ChunkQueue(self.queue))
        self.worker = Worker(self.jobs, self.followers, self.timelines, batch_size=4)
        self.sweeper = self.sweeper_of(self.planner)

    def planner_to(self, chunks: Chunks) -> Planner:
        """Make a planner that sends its chunks somewhere."""
        return Planner(self.jobs, self.followers, self.timelines, chunks, chunk_size=10)

    def sweeper_of(self, planner: Planner, *, pause_seconds: float = 0) -> Sweeper:
        """Make a sweeper for which jobs are late after ten seconds, and which sends them with every sweep unless it pauses."""
        lease = Lease(self.table, SWEEPER_LEASE, seconds=60)
        return Sweeper(self.jobs, planner, lease, late_seconds=10, every_seconds=0.01, pause_seconds=pause_seconds)

    async def crash(self, post_id: int, author_id: int, *, ago: float = 60) -> list[Chunk]:
        """Plan a post some seconds ago and lose its chunks, as a process does that dies then; give the chunks."""
        lost = Lost()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service, "now_ms", lambda: now_ms() - int(ago * 1000))
            await self.planner_to(lost).plan(post_id, author_id)
        return lost.chunks

    def working(self) -> AbstractAsyncContextManager[None]:
        """Plan and deliver what comes by the queue, for the length of a block."""
        return consuming(self.queue, self.planner, self.worker, planners=4, workers=4)

    def post(self, author_id: int, followers: int) -> int:
        """Let so many follow an author who posts."""
        self.followers.set(author_id, range(author_id * 1_000_000 + 1, author_id * 1_000_000 + followers + 1))
        return self.ids.next()

    def once(self, author_id: int) -> dict[int, int]:
        """Say how often every follower of an author has to get a post: once."""
        return {position.user_id: 1 for position in self.followers.of[author_id]}


async def created(fanout: Fanout, post_id: int, author_id: int = AUTHOR) -> None:
    """Tell of a new post by the queue; returns when its delivery is done."""
    event = event_pb2.Event(post_created=event_pb2.PostCreated(post_id=post_id, author_id=author_id))
    await fanout.queue.publish(POST_CREATED, event.SerializeToString())


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
