"""`read.*`: what it costs to read a page of 20 posts, against a bare server that answers the same bytes."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from feed.timeline.v1 import timeline_service_pb2

from bench.bench import Bench
from bench.figure import Figure, Goal, alternating
from bench.h2load import Target, call, grpc_target, saturate
from meshkit.process import child
from meshkit.sockets import free_port

METHOD = "/feed.timeline.v1.TimelineService/GetHomeTimeline"
FOLLOWEES = 300
POSTS_EACH = 3
PAGE = 20
_WARM_UP_S = 1.0


async def rpc(bench: Bench) -> AsyncIterator[Figure]:
    """Measure warm reads, of one process of the timeline service."""
    target = await feed_of_one(bench)
    async with bare(bench, target[1]) as address:
        reference = grpc_target(address, METHOD, b"", target[1], {})
        await saturate(target[0], _WARM_UP_S)
        await saturate(reference, _WARM_UP_S)
        values, references = await alternating(
            bench.rounds, lambda: saturate(target[0], bench.seconds), lambda: saturate(reference, bench.seconds)
        )
    yield Figure("read.rpc", "reads/s", Goal.ratio_at_least(0.60), values, references)


async def rest(bench: Bench) -> AsyncIterator[Figure]:
    """Measure the same reads through the gateway."""
    target, _, user = await feed_of_one(bench)
    rest = Target(f"{bench.rig.url}/v1/feed?page_size={PAGE}", bench.rig.as_user(user))
    await saturate(target, _WARM_UP_S)
    await saturate(rest, _WARM_UP_S)
    values, references = await alternating(
        bench.rounds, lambda: saturate(rest, bench.seconds), lambda: saturate(target, bench.seconds)
    )
    yield Figure("read.rest", "reads/s", Goal.ratio_at_least(0.85), values, references)


async def feed_of_one(bench: Bench) -> tuple[Target, bytes, int]:
    """Make a reader, whose page is warm then, and give the request for it, the answer, and the reader."""
    reader, *authors = await bench.crowd.people(1 + FOLLOWEES)
    await bench.crowd.follow([(reader, author) for author in authors])
    await bench.crowd.posts(authors * POSTS_EACH)
    request = timeline_service_pb2.GetHomeTimelineRequest(page_size=PAGE).SerializeToString()
    address, headers = bench.rig.addresses["timeline"], bench.rig.as_user(reader)
    answer = await call(address, METHOD, request, headers)
    if len(timeline_service_pb2.GetHomeTimelineResponse.FromString(answer).items) != PAGE:
        raise ValueError("the page is not full")
    return grpc_target(address, METHOD, request, answer, headers), answer, reader


@asynccontextmanager
async def bare(bench: Bench, answer: bytes) -> AsyncIterator[str]:
    """Run a bare server for the length of a block, and give its address."""
    address, file = f"127.0.0.1:{free_port()}", bench.rig.folder / "bare.bin"
    file.write_bytes(answer)

    async def ready() -> bool:
        try:
            return await call(address, METHOD, b"", {}) == answer
        except grpc.aio.AioRpcError:
            return False

    argv: list[str | Path] = [sys.executable, "-m", "bench.bare_feed", address, file]
    async with child(argv, name="bare server", log=bench.rig.folder / "bare.log", ready=ready):
        yield address
