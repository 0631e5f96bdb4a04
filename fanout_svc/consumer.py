"""Fan-out's queues: new posts and turns come in, chunks go round."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from feed.event.v1 import event_pb2
from feed.fanout.v1 import job_pb2

from fanout_svc.clients import decode_delivery, decode_range, encode_range
from fanout_svc.domain import Chunk, NewPost, Turn, is_bulk
from fanout_svc.service import Planner, Worker
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import Message, Queue
from meshkit.topics import AUTHOR_TURNED, FANOUT_BULK, FANOUT_CHUNK, POST_CREATED

_TURNS = 4


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many messages of each kind are handled at once."""

    posts: int
    chunks: int
    bulk: int
    turns: int = _TURNS


class ChunkQueue:
    """Sends chunks to the workers."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def send(self, chunk: Chunk) -> None:
        """Queue a chunk for some worker, those of large jobs apart; when this returns it is safe."""
        body = job_pb2.Chunk(
            job_id=chunk.job_id,
            author_id=chunk.author_id,
            index=chunk.index,
            chunk_count=chunk.chunk_count,
            range=encode_range(chunk.range),
            turn=chunk.turn,
        )
        await self._queue.publish(FANOUT_BULK if is_bulk(chunk.chunk_count) else FANOUT_CHUNK, body.SerializeToString())


@asynccontextmanager
async def consuming(queue: Queue, planner: Planner, worker: Worker, concurrency: Concurrency) -> AsyncIterator[None]:
    """Plan new posts and turns and deliver chunks, until the context ends."""

    async def plan(message: Message) -> None:
        created = event_pb2.Event.FromString(message.body).post_created
        await planner.plan(NewPost(created.post_id, created.author_id, decode_delivery(created.delivery)))

    async def plan_turn(message: Message) -> None:
        event = event_pb2.Event.FromString(message.body)
        await planner.plan_turn(Turn(event.event_id, event.author_turned.author_id, event.author_turned.turn))

    async def deliver(message: Message) -> None:
        chunk = _decode_chunk(message.body)
        try:
            # At its last delivery it may be the very one that was given up, by a process that died before the broker knew.
            await worker.deliver(chunk, anyway=message.redriven or message.last)
        except (UnavailableError, OverloadedError):
            raise
        except Exception:
            if message.last:
                await worker.give_up(chunk)
            raise

    async with (
        queue.work("fanout.chunks", [FANOUT_CHUNK], deliver, concurrency=concurrency.chunks),
        queue.work("fanout.bulk", [FANOUT_BULK], deliver, concurrency=concurrency.bulk),
        queue.work("fanout.turns", [AUTHOR_TURNED], plan_turn, concurrency=concurrency.turns),
        queue.work("fanout.posts", [POST_CREATED], plan, concurrency=concurrency.posts),
    ):
        yield


def _decode_chunk(body: bytes) -> Chunk:
    chunk = job_pb2.Chunk.FromString(body)
    return Chunk(chunk.job_id, chunk.author_id, chunk.index, chunk.chunk_count, decode_range(chunk.range), chunk.turn)
