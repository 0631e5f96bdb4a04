#!/usr/bin/env python3
"""Shows what a post of an author with 1,000,000 followers does to the mesh, pulled and pushed.

Run it from the project's root with `.venv/bin/python bench/million_followers.py [FOLLOWERS]`. The followers exist as
edges only, but for 200 who have accounts, read their feeds, and so have timelines. It starts a mesh on embedded engines in a
temporary folder, measures through its gateway and its services, and stops it again.
"""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc, job_pb2
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc

from cli.client import Client
from cli.dev_tokens import minter
from cli.transport import Patience
from graph_svc.domain import FollowerPosition, Tie
from graph_svc.tie_rows import encode_tie, followers_key
from graph_svc.user_rows import follower_count_key, follower_shard
from meshkit.engines import open_table
from meshkit.ids import IdGenerator
from meshkit.process import child
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.rpc.probe import is_serving
from meshkit.settings import MeshSettings
from meshkit.sockets import free_port
from meshkit.table.port import Add, Operation, Put, Table

FOLLOWERS = 1_000_000
READERS = 200
SMALL_POSTS = 200
_PAUSE = 0.02
_FIRST_FOLLOWER = 1_000_000_000
_OPERATIONS_A_WRITE = 100
_WRITES_AT_ONCE = 32
_POST_SERVICE = "127.0.0.1:50052"
_FANOUT_SERVICE = "127.0.0.1:50054"


def main() -> None:
    """Measure."""
    followers = int(sys.argv[1]) if len(sys.argv) > 1 else FOLLOWERS
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), followers))


async def _measure(folder: Path, followers: int) -> None:
    async with _mesh(folder) as url, Client.connect(url, connections=64, patience=Patience(call_s=60)) as client:
        mint = minter(folder, lifetime=timedelta(hours=3))
        people = [await client.create_user(f"user{n}", display_name="", request_id=f"u{n}") for n in range(READERS + 1)]
        author, *readers = people
        tokens = {user: mint(user) for user in people}
        for reader in readers:
            await client.create_follow(author, token=tokens[reader], request_id=f"f{reader}")
        for reader in readers:  # a small community beside: each follows the next
            other = readers[(readers.index(reader) + 1) % READERS]
            await client.create_follow(other, token=tokens[reader], request_id=f"g{reader}")
        began = time.perf_counter()
        await _add_edges(folder, author, followers - READERS)
        _say(f"{followers:,} edges written in {time.perf_counter() - began:.0f} s")
        await asyncio.gather(*(client.feed_page(token=tokens[reader], page_size=20) for reader in readers))

        scene = _Scene(folder, client, tokens, author, readers)
        await scene.posted("first post, stamped PUSH")
        await _until_pulled(folder, author)
        await scene.posted("pulled")
        await _force(folder, author, delivery_pb2.DELIVERY_PUSH)
        await scene.pushed_beside_small_posts()


class _Scene:
    """The author, and the followers who read."""

    def __init__(self, folder: Path, client: Client, tokens: dict[int, str], author: int, readers: Sequence[int]) -> None:
        self._folder = folder
        self._client = client
        self._tokens = tokens
        self._author = author
        self._readers = readers
        self._posts = 0

    async def posted(self, what: str) -> None:
        """Post, and wait until all readers have it."""
        post, answered = await self._post(self._author)
        seen = await asyncio.gather(*(self._seen(reader, post) for reader in self._readers))
        _say(f"{what}: answered in {answered * 1e3:.1f} ms; in {len(seen)} feeds {_spread(seen)} after that")

    async def pushed_beside_small_posts(self) -> None:
        """Push the author's post to everybody, and deliver small posts meanwhile."""
        post, answered = await self._post(self._author)
        _say(f"forced to push: answered in {answered * 1e3:.1f} ms")
        small: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            job = tasks.create_task(_finished(self._folder, post))
            for number in range(SMALL_POSTS):
                poster, follower = self._readers[number % READERS], self._readers[number % READERS - 1]
                tasks.create_task(self._small(poster, follower, small))
                await asyncio.sleep(0.02)
        _say(f"{SMALL_POSTS} small posts meanwhile: in the follower's feed {_spread(small)} after the answer")
        done = job.result()
        _say(f"pushed to {done.delivered_count} timelines of {done.follower_count:,} followers in {done.duration_ms / 1e3:.1f} s")

    async def _small(self, poster: int, follower: int, delays: list[float]) -> None:
        post, _ = await self._post(poster)
        delays.append(await self._seen(follower, post))

    async def _post(self, user: int) -> tuple[int, float]:
        self._posts += 1
        began = time.perf_counter()
        post = await self._client.create_post("hello", token=self._tokens[user], request_id=f"p{self._posts}")
        return post, time.perf_counter() - began

    async def _seen(self, reader: int, post: int) -> float:
        began = time.perf_counter()
        while True:
            page = await self._client.feed_page(token=self._tokens[reader], page_size=20)
            if any(int(item.post.post_id) == post for item in page.items):
                return time.perf_counter() - began
            await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _mesh(folder: Path) -> AsyncIterator[str]:
    port = free_port()

    async def ready() -> bool:
        return await is_serving(_POST_SERVICE) and (folder / "keys" / "issuer.pem").exists()

    argv = [sys.executable, "-m", "cli", "up", "--data-dir", str(folder), "--port", str(port)]
    async with child(argv, name="mesh", log=folder / "mesh.log", ready=ready, ready_timeout=60, grace=30):
        yield f"http://127.0.0.1:{port}"


async def _add_edges(folder: Path, author: int, count: int) -> None:
    """Write edges into the table, past the service."""
    ids = IdGenerator(999)
    value = encode_tie(Tie(follow_id=ids.next(), version=ids.next()))
    room = asyncio.Semaphore(_WRITES_AT_ONCE)
    followers = sorted(range(_FIRST_FOLLOWER, _FIRST_FOLLOWER + count), key=FollowerPosition.of)
    async with open_table(f"sqlite:///{folder}/graph.db") as table, asyncio.TaskGroup() as tasks:
        for start in range(0, count, _OPERATIONS_A_WRITE):
            await room.acquire()
            puts = [Put(followers_key(author, user), value) for user in followers[start : start + _OPERATIONS_A_WRITE]]
            tasks.create_task(_write(table, puts, room))
        shards: dict[int, int] = {}
        for user in followers:
            shards[follower_shard(user)] = shards.get(follower_shard(user), 0) + 1
        await table.write(*(Add(follower_count_key(author, shard), number) for shard, number in shards.items()))


async def _write(table: Table, operations: Sequence[Operation], room: asyncio.Semaphore) -> None:
    try:
        await table.write(*operations)
    finally:
        room.release()


@asynccontextmanager
async def _deliveries(
    folder: Path,
) -> AsyncIterator[tuple[delivery_service_pb2_grpc.DeliveryServiceAsyncStub, tuple[tuple[str, str]]]]:
    token = MeshSettings(data_dir=folder).service_tokens("bench").mint()
    async with grpc.aio.insecure_channel(_POST_SERVICE) as channel:
        yield delivery_service_pb2_grpc.DeliveryServiceStub(channel), ((SERVICE_TOKEN_METADATA, token),)


async def _until_pulled(folder: Path, author: int) -> None:
    began = time.perf_counter()
    async with _deliveries(folder) as (stub, metadata):
        while True:
            request = delivery_service_pb2.GetAuthorDeliveryRequest(author_id=author)
            delivery = (await stub.GetAuthorDelivery(request, metadata=metadata)).delivery
            if delivery.delivery == delivery_pb2.DELIVERY_PULL:
                _say(f"the author is pulled {time.perf_counter() - began:.1f} s after that")
                return
            await asyncio.sleep(0.1)


async def _finished(folder: Path, job_id: int) -> job_pb2.Job:
    """Wait until a job is done."""
    metadata = ((SERVICE_TOKEN_METADATA, MeshSettings(data_dir=folder).service_tokens("bench").mint()),)
    async with grpc.aio.insecure_channel(_FANOUT_SERVICE) as channel:
        stub: fanout_service_pb2_grpc.FanoutServiceAsyncStub = fanout_service_pb2_grpc.FanoutServiceStub(channel)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):  # not planned yet
                job = (await stub.GetJob(fanout_service_pb2.GetJobRequest(job_id=job_id), metadata=metadata)).job
                if job.state == job_pb2.JOB_STATE_DONE:
                    return job
            await asyncio.sleep(0.2)


async def _force(folder: Path, author: int, delivery: delivery_pb2.Delivery.ValueType) -> None:
    async with _deliveries(folder) as (stub, metadata):
        request = delivery_service_pb2.SetAuthorDeliveryRequest(author_id=author, delivery=delivery, force=True)
        await stub.SetAuthorDelivery(request, metadata=metadata)


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered) * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
