"""`memory.*`: what an entry of a full timeline takes, against a sorted set of the same ids."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

from collections.abc import AsyncIterator, Mapping
from itertools import cycle, islice

import grpc
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2, timeline_service_pb2_grpc
from redis.asyncio import Redis

from bench.bench import Bench
from bench.figure import Figure, Goal
from bench.h2load import call
from bench.read import METHOD
from meshkit.ids import IdGenerator
from timeline_svc.redis_store import HOME_CAP, home_key, sources_key

_AUTHORS = 300
_WORKER = 1_001


async def entries(bench: Bench) -> AsyncIterator[Figure]:
    """Push as many posts as a timeline holds, one after the other, the way fan-out does, and ask the server for the size.

    A sorted set has the posts' ids as members, and one more both ids of an entry, as `post:author`.
    """
    ids = IdGenerator(_WORKER)
    authors = [ids.next() for _ in range(_AUTHORS)]
    values, of_posts, of_both = [], [], []
    async with Redis.from_url(bench.rig.redis_url) as redis:
        for _ in range(bench.rounds):
            posts = {ids.next(): author for author in islice(cycle(authors), HOME_CAP)}
            values.append(await _packed(bench, redis, posts) / HOME_CAP)
            of_posts.append(await _sorted_set(redis, {str(post): post for post in posts}) / HOME_CAP)
            of_both.append(await _sorted_set(redis, {f"{post}:{author}": post for post, author in posts.items()}) / HOME_CAP)
    yield Figure("memory.entry", "B", Goal.at_most(20), values, of_posts)
    yield Figure("memory.sorted_set", "B", Goal.ratio_at_most(1 / 6), values, of_posts)
    yield Figure("memory.sorted_set.both", "B", Goal.ratio_at_most(1 / 6), values, of_both)


async def _packed(bench: Bench, redis: Redis, posts: Mapping[int, int]) -> int:
    """Make a timeline by a read, push into it, and give its size, with what stands beside it."""
    (viewer,) = await bench.crowd.people(1)
    address = bench.rig.addresses["timeline"]
    await call(address, METHOD, b"", bench.rig.as_user(viewer))
    metadata = tuple(bench.rig.as_service().items())
    async with grpc.aio.insecure_channel(address) as channel:
        stub: timeline_service_pb2_grpc.TimelineServiceAsyncStub = timeline_service_pb2_grpc.TimelineServiceStub(channel)
        for post_id, author_id in posts.items():
            entry = timeline_pb2.Entry(post_id=post_id, author_id=author_id)
            pushed = await stub.PushEntries(
                timeline_service_pb2.PushEntriesRequest(entry=entry, user_ids=[viewer]), metadata=metadata
            )
            if pushed.delivered_count != 1:
                raise ValueError("the timeline did not take what was pushed")
    return await _size(redis, home_key(viewer)) + await _size(redis, sources_key(viewer))


async def _sorted_set(redis: Redis, members: Mapping[str, int]) -> int:
    for member, score in members.items():
        await redis.zadd("sorted", {member: score})
    size = await _size(redis, "sorted")
    await redis.delete("sorted")
    return size


async def _size(redis: Redis, key: str) -> int:
    """Give what a value takes with its key; of every part, not of a sample."""
    return await redis.memory_usage(key, samples=0) or 0
