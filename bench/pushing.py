"""Has posts fanned out, from the broker to the last timeline, and says when that is done."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import grpc
from feed.event.v1 import event_pb2
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from redis.asyncio import Redis

from bench.bench import Bench
from fanout_svc.domain import Job
from fanout_svc.jobs import JobRepository
from meshkit.engines import open_queue, open_table
from meshkit.queue.port import Queue
from meshkit.topics import POST_CREATED
from timeline_svc.packed import Window, tail_bytes
from timeline_svc.redis_store import home_key

_POLL_S = 0.01
_DONE_S = 120.0


@dataclass(frozen=True, slots=True)
class Pushing:
    """The way to the broker, and to those who know what is done."""

    bench: Bench
    queue: Queue
    redis: Redis
    jobs: JobRepository
    deliveries: delivery_service_pb2_grpc.DeliveryServiceAsyncStub

    @classmethod
    @asynccontextmanager
    async def of(cls, bench: Bench) -> AsyncIterator[Self]:
        """Connect."""
        rig = bench.rig
        async with (
            open_queue(rig.queue_url) as queue,
            Redis.from_url(rig.redis_url) as redis,
            open_table(rig.table("fanout")) as table,  # asking the service would take what it needs for its work
            grpc.aio.insecure_channel(rig.addresses["post"]) as post,
        ):
            yield cls(bench, queue, redis, JobRepository(table), delivery_service_pb2_grpc.DeliveryServiceStub(post))

    async def force(self, authors: Iterable[int]) -> None:
        """Have authors pushed, however many follow them."""
        for author in authors:
            request = delivery_service_pb2.SetAuthorDeliveryRequest(
                author_id=author, force=True, delivery=delivery_pb2.DELIVERY_PUSH
            )
            await self.deliveries.SetAuthorDelivery(request, metadata=self._metadata())

    async def publish(self, posts: Mapping[int, int]) -> None:
        """Tell the broker of posts, by author."""
        async with asyncio.TaskGroup() as tasks:
            for author, post in posts.items():
                tasks.create_task(self._created(post, author))

    async def done(self, posts: Iterable[int], followers: int) -> None:
        """Wait until each post's job is done. Raises ValueError when one missed a timeline, TimeoutError if it takes too long."""
        async with asyncio.timeout(_DONE_S):
            for post in posts:
                job = await self._job(post)
                if job.delivered_count != followers:
                    raise ValueError(f"a post reached {job.delivered_count:,} timelines, not {followers:,}")

    async def arrived(self, followers: Mapping[int, int]) -> None:
        """Wait until each post is in the timeline of the follower given for it. Raises TimeoutError if it takes too long."""
        waiting, count = dict(followers), len(followers)
        async with asyncio.timeout(_DONE_S):
            while waiting:
                pipeline = self.redis.pipeline(transaction=False)
                for follower in waiting.values():
                    pipeline.getrange(home_key(follower), -tail_bytes(count), -1)
                windows = [Window.unpack(tail) for tail in await pipeline.execute()]
                for (post, _), window in zip(list(waiting.items()), windows, strict=True):
                    if window and post in window.post_ids:
                        del waiting[post]
                await asyncio.sleep(_POLL_S)

    async def _created(self, post: int, author: int) -> None:
        created = event_pb2.PostCreated(post_id=post, author_id=author, delivery=delivery_pb2.DELIVERY_PUSH)
        await self.queue.publish(POST_CREATED, event_pb2.Event(post_created=created).SerializeToString())

    async def _job(self, post: int) -> Job:
        while True:
            job = await self.jobs.get(post)
            if job and job.finished_ms:
                return job
            await asyncio.sleep(_POLL_S)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.bench.rig.as_service().items())
