"""`memory.*`: what an entry of a full timeline takes, against a sorted set of the same ids."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

from collections.abc import AsyncIterator, Sequence

import grpc
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2, timeline_service_pb2_grpc
from redis.asyncio import Redis

from bench.bench import Bench
from bench.figure import Figure, Goal
from bench.h2load import call
from bench.read import METHOD
from meshkit.ids import IdGenerator
from timeline_svc.redis_store import HOME_CAP, home_key

_AUTHORS = 300
_WORKER = 1_001


async def entries(bench: Bench) -> AsyncIterator[Figure]:
    """Push as many posts as a timeline holds, one after the other, the way fan-out does, and ask the server for the size."""
    ids = IdGenerator(_WORKER)
    values, references = [], []
    async with Redis.from_url(bench.rig.redis_url) as redis:
        for _ in range(bench.rounds):
            posts = [ids.next() for _ in range(HOME_CAP)]
            values.append(await _packed(bench, redis, posts) / HOME_CAP)
            references.append(await _sorted_set(redis, posts) / HOME_CAP)
    yield Figure("memory.entry", "B", Goal.at_most(20), values, references)
    yield Figure("memory.sorted_set", "B", Goal.ratio_at_most(1 / 6), values, references)


async def _packed(bench: Bench, redis: Redis, posts: Sequence[int]) -> int:
    """Make a timeline by a read, push into it, and give its size."""
    (viewer,) = await bench.crowd.people(1)
    address = bench.rig.addresses["timeline"]
    await call(address, METHOD, b"", bench.rig.as_user(viewer))
    metadata = tuple(bench.rig.as_service().items())
    async with grpc.aio.insecure_channel(address) as channel:
        stub: timeline_service_pb2_grpc.TimelineServiceAsyncStub = timeline_service_pb2_grpc.TimelineServiceStub(channel)
        for number, post_id in enumerate(posts):
            entry = timeline_pb2.Entry(post_id=post_id, author_id=1 + number % _AUTHORS)
            pushed = await stub.PushEntries(
                timeline_service_pb2.PushEntriesRequest(entry=entry, user_ids=[viewer]), metadata=metadata
            )
            if pushed.delivered_count != 1:
                raise ValueError("the timeline did not take what was pushed")
    return await _size(redis, home_key(viewer))


async def _sorted_set(redis: Redis, posts: Sequence[int]) -> int:
    for post_id in posts:
        await redis.zadd("sorted", {str(post_id): post_id})
    size = await _size(redis, "sorted")
    await redis.delete("sorted")
    return size


async def _size(redis: Redis, key: str) -> int:
    """Give what a value takes with its key; of every part, not of a sample."""
    return await redis.memory_usage(key, samples=0) or 0
