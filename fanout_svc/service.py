"""The work of fan-out: plan what posts and turns need, and do it."""

from fanout_svc.domain import Chunk, Delivery, Job, NewPost, Turn, chunk_count_for
from fanout_svc.ending import Ending
from fanout_svc.jobs import JobRepository
from fanout_svc.ports import Peers
from fanout_svc.reach import Reach
from fanout_svc.sending import Sender
from fanout_svc.steering import Steering
from meshkit.clock import now_ms


class Planner:
    """Decides what a new post or a turn needs. What fits into one chunk it does at once; a larger one becomes a job."""

    def __init__(
        self, peers: Peers, jobs: JobRepository, reach: Reach, sender: Sender, steering: Steering, *, chunk_size: int
    ) -> None:
        self._followers = peers.followers
        self._timelines = peers.timelines
        self._deliveries = peers.deliveries
        self._jobs = jobs
        self._reach = reach
        self._sender = sender
        self._steering = steering
        self._chunk_size = chunk_size

    async def plan(self, post: NewPost) -> None:
        """See to a post's delivery; planning twice is planning once.

        The author's own recent posts come first: who pulls them finds the post from then on. Only then is it asked whether the
        author is still pulled: a timeline that was made before, when the author had turned to push, needs the post pushed.
        """
        await self._timelines.push_author(post.post_id, post.author_id)
        if post.delivery is Delivery.PULL and await self._is_pulled(post.author_id):
            await self._steering.posted(post, await self._followers.count(post.author_id))
            return
        if few := await self._reach.push_few(post, self._chunk_size):
            await self._steering.posted(post, *few)
            return
        job = await self._job(post.post_id, post.author_id)
        reached = await self._deliver(job)
        await self._steering.posted(post, job.follower_count, reached)

    async def plan_turn(self, turn: Turn) -> None:
        """See to the marking of an author as pulled, unless that is done, or the author has turned again meanwhile."""
        now = await self._deliveries.get(turn.author_id)
        if (now.delivery, now.turn) != (Delivery.BOTH, turn.turn):
            return
        job = await self._job(turn.event_id, turn.author_id, turn=turn.turn)
        if await self._deliver(job) is not None:
            await self._deliveries.finish_turn(turn.author_id, turn.turn)

    async def _is_pulled(self, author_id: int) -> bool:
        return (await self._deliveries.get(author_id)).delivery is Delivery.PULL

    async def _job(self, job_id: int, author_id: int, *, turn: int = 0) -> Job:
        followers = await self._followers.count(author_id)
        return Job(job_id, author_id, chunk_count_for(followers, self._chunk_size), followers, now_ms(), turn=turn)

    async def _deliver(self, job: Job) -> int | None:
        """Do a job of one chunk and tell how many timelines it reached; have a larger one done, and tell nothing.

        A larger job is safe as soon as its row is written, so nobody waits for its chunks.
        """
        if job.chunk_count == 1:
            (chunk,) = job.chunks()
            return await self._reach.cover(chunk)
        self._sender.take(await self._jobs.create(job))
        return None


class Worker:
    """Does chunks."""

    def __init__(self, jobs: JobRepository, reach: Reach, ending: Ending) -> None:
        self._jobs = jobs
        self._reach = reach
        self._ending = ending

    async def deliver(self, chunk: Chunk, *, anyway: bool = False) -> None:
        """Do a chunk of a job that is not done, and note it, and the job with its last one. Doing it twice is doing it once.

        One that was given up is done only `anyway`: what the sweeper sends would most likely end as a dead letter like it.
        """
        job, done, given_up = await self._jobs.find(chunk.job_id, chunk.index)
        if job is None or job.finished_ms:
            return
        if not done:
            if given_up and not anyway:
                return
            await self._jobs.note_chunk(job.job_id, chunk.index, await self._reach.cover(chunk))
        await self._ending.settle(job)

    async def give_up(self, chunk: Chunk) -> None:
        """Note that a chunk is about to be a dead letter; its job goes on running."""
        await self._jobs.note_given_up(chunk.job_id, chunk.index)
