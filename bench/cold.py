"""`read.cold.*`: what a read costs when what it needs is not in memory, against the same read when it is."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping

import grpc
from redis.asyncio import Redis

from bench.bench import Bench
from bench.figure import Figure, Goal, alternating
from bench.h2load import PREFIX_BYTES, Target, call, grpc_target, one_by_one
from bench.read import METHOD, feed_of_one
from meshkit.sockets import free_port
from timeline_svc.redis_store import home_key, sources_key


async def posts(bench: Bench) -> AsyncIterator[Figure]:
    """Measure reads of a process that keeps no posts, so that each has to load all of its posts."""
    warm, answer, reader = await feed_of_one(bench)
    request = warm.body[PREFIX_BYTES:]
    address, headers = f"127.0.0.1:{free_port()}", bench.rig.as_user(reader)
    async with bench.rig.another("timeline", address, FEEDMESH_CACHED_BYTES="0"):
        cold = grpc_target(address, METHOD, request, answer, headers)
        await call(address, METHOD, request, headers)
        values, references = await alternating(bench.rounds, lambda: _p50(bench, cold), lambda: _p50(bench, warm))
    yield Figure("read.cold.posts", "ms p50", Goal.ratio_at_most(5), values, references)


async def timeline(bench: Bench) -> AsyncIterator[Figure]:
    """Measure reads of a timeline of 300 followees that was removed, with what stands beside it, before each.

    The client of the cold reads takes about 0.1 ms more than that of the warm ones.
    """
    warm, _, reader = await feed_of_one(bench)
    request, headers = warm.body[PREFIX_BYTES:], bench.rig.as_user(reader)
    async with Redis.from_url(bench.rig.redis_url) as redis:

        async def lost() -> float:
            took = []
            with grpc.insecure_channel(bench.rig.addresses["timeline"]) as channel:
                await asyncio.to_thread(_timed, channel, request, headers)
                for _ in range(bench.size(50, 3)):
                    await redis.unlink(home_key(reader), sources_key(reader))
                    took.append(await asyncio.to_thread(_timed, channel, request, headers))
            return statistics.median(took) * 1e3

        values, references = await alternating(bench.rounds, lost, lambda: _p50(bench, warm))
    yield Figure("read.cold.timeline", "ms p50", Goal.ratio_at_most(25), values, references)


async def _p50(bench: Bench, target: Target) -> float:
    return statistics.median(await one_by_one(target, bench.size(400, 20))) * 1e3


def _timed(channel: grpc.Channel, request: bytes, headers: Mapping[str, str]) -> float:
    """Make one call. Not with asyncio, which takes longer itself than a warm read does."""
    read: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    began = time.perf_counter()
    read(request, metadata=tuple(headers.items()), timeout=10)
    return time.perf_counter() - began
