"""Fan-out's queues: new posts come in, chunks go round."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from feed.event.v1 import event_pb2
from feed.fanout.v1 import job_pb2

from fanout_svc.clients import decode_range, encode_range
from fanout_svc.domain import Chunk
from fanout_svc.service import Planner, Worker
from meshkit.queue.port import Message, Queue
from meshkit.topics import FANOUT_CHUNK, POST_CREATED


class ChunkQueue:
    """Sends chunks to the workers."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def send(self, chunk: Chunk) -> None:
        """Queue a chunk for some worker; when this returns it is safe."""
        body = job_pb2.Chunk(
            job_id=chunk.job_id,
            author_id=chunk.author_id,
            index=chunk.index,
            chunk_count=chunk.chunk_count,
            range=encode_range(chunk.range),
        )
        await self._queue.publish(FANOUT_CHUNK, body.SerializeToString())


@asynccontextmanager
async def consuming(queue: Queue, planner: Planner, worker: Worker, *, planners: int, workers: int) -> AsyncIterator[None]:
    """Plan new posts and deliver chunks, so many at once, until the context ends."""

    async def plan(message: Message) -> None:
        created = event_pb2.Event.FromString(message.body).post_created
        await planner.plan(created.post_id, created.author_id)

    async def deliver(message: Message) -> None:
        chunk = job_pb2.Chunk.FromString(message.body)
        within = decode_range(chunk.range)
        await worker.deliver(Chunk(chunk.job_id, chunk.author_id, chunk.index, chunk.chunk_count, within))

    async with (
        queue.work("fanout.chunks", [FANOUT_CHUNK], deliver, concurrency=workers),
        queue.work("fanout.posts", [POST_CREATED], plan, concurrency=planners),
    ):
        yield
