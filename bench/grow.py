"""`grow.*` of reads: what a page of 20 costs with more followees, and with more of them pulled."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import grpc
from feed.timeline.v1 import timeline_service_pb2

from bench.bench import Bench
from bench.figure import Curve, Figure, Goal
from bench.h2load import Target, call, grpc_target, one_by_one
from bench.pulled import pull
from bench.read import METHOD, PAGE
from post_svc.domain import Delivery

_ENTRIES = 800
_FOLLOWEES = 300
_POSTS_EACH = 3
_PULLED_POSTS_EACH = 10
_READS_A_SECOND = 20

# Readers, by how many authors they follow or pull.
Groups = Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A reader whose page is warm."""

    target: Target
    headers: Mapping[str, str]


async def followees(bench: Bench) -> AsyncIterator[Figure | Curve]:
    """Measure a reader with more and more followees, all of whose timelines are full."""
    readers: dict[int, Sequence[int]] = {}
    for count in (bench.size(10, 10), bench.size(1_000, 20), bench.size(10_000, 30)):
        reader, *authors = await bench.crowd.people(1 + count)
        await bench.crowd.follow([(reader, author) for author in authors])
        await bench.crowd.posts(authors * max(1, bench.size(_ENTRIES, 50) // count))
        readers[count] = [reader]
    for figure in await _one_by_one(bench, "grow.followees", Goal.ratio_at_most(1.3), readers):
        yield figure


async def celebrities(bench: Bench) -> AsyncIterator[Figure | Curve]:
    """Measure readers with more and more pulled followees: one after the other as fast as they can, then some each second."""
    readers = {count: await _fans(bench, count) for count in (0, bench.size(50, 5), bench.size(500, 10))}
    goal = Goal.ratio_at_most(2)
    for figure in await _one_by_one(bench, "grow.celebrities", goal, readers):
        yield figure
    for figure in await _now_and_then(bench, "grow.celebrities.paced", goal, readers):
        yield figure


async def _fans(bench: Bench, count: int) -> list[int]:
    """Make readers who follow 300 others and so many pulled authors."""
    authors = await bench.crowd.people(bench.size(_FOLLOWEES, 20))
    pulled = await bench.crowd.people(count)
    readers = await bench.crowd.people(bench.size(10, 2))
    await pull(bench.rig, pulled)
    await bench.crowd.follow([(reader, author) for reader in readers for author in (*authors, *pulled)])
    for _ in range(_POSTS_EACH):
        await bench.crowd.posts(authors)
        await bench.crowd.posts(pulled * (_PULLED_POSTS_EACH // _POSTS_EACH), delivery=Delivery.PULL)
    return readers


async def _one_by_one(bench: Bench, name: str, goal: Goal, groups: Groups) -> list[Figure | Curve]:
    """Read over one connection, without a pause; each round by another reader of each group."""
    readers = await _warm(bench, groups)
    took: dict[int, list[float]] = {count: [] for count in groups}
    for number in range(bench.rounds):
        for count, of_group in readers.items():
            taken = await one_by_one(of_group[number % len(of_group)].target, bench.size(400, 20))
            took[count].append(statistics.median(taken) * 1e3)
    return _figures(name, goal, took)


async def _now_and_then(bench: Bench, name: str, goal: Goal, groups: Groups) -> list[Figure | Curve]:
    """Read 20 times a second in each group, always by another reader; latency counts from when a read was due."""
    readers = await _warm(bench, groups)
    took: dict[int, list[float]] = {count: [] for count in groups}
    async with grpc.aio.insecure_channel(bench.rig.addresses["timeline"]) as channel:
        for _ in range(bench.rounds):
            for count, taken in (await _paced(channel, readers, bench.seconds)).items():
                took[count].append(statistics.median(taken) * 1e3)
    return _figures(name, goal, took)


async def _paced(channel: grpc.aio.Channel, groups: Mapping[int, Sequence[_Reader]], seconds: float) -> dict[int, list[float]]:
    read: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    request = timeline_service_pb2.GetHomeTimelineRequest(page_size=PAGE).SerializeToString()
    took: dict[int, list[float]] = {count: [] for count in groups}
    began, number_of_reads = time.perf_counter(), round(seconds * _READS_A_SECOND)

    async def one(reader: _Reader, due: float, taken: list[float]) -> None:
        await asyncio.sleep(due - time.perf_counter())
        await read(request, metadata=tuple(reader.headers.items()), timeout=10)
        taken.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as tasks:
        for place, (count, readers) in enumerate(groups.items()):
            for number, reader in enumerate(islice(cycle(readers), number_of_reads)):
                due = began + (number + (place + 1) / len(groups)) / _READS_A_SECOND
                tasks.create_task(one(reader, due, took[count]))
    return took


async def _warm(bench: Bench, groups: Groups) -> dict[int, list[_Reader]]:
    return {count: [await _reader(bench, user) for user in users] for count, users in groups.items()}


async def _reader(bench: Bench, user: int) -> _Reader:
    """Read a page twice, so that it is warm. Raises ValueError when it is not full."""
    request = timeline_service_pb2.GetHomeTimelineRequest(page_size=PAGE).SerializeToString()
    address, headers = bench.rig.addresses["timeline"], bench.rig.as_user(user)
    await call(address, METHOD, request, headers)
    answer = await call(address, METHOD, request, headers)
    if len(timeline_service_pb2.GetHomeTimelineResponse.FromString(answer).items) != PAGE:
        raise ValueError("the page is not full")
    return _Reader(grpc_target(address, METHOD, request, answer, headers), headers)


def _figures(name: str, goal: Goal, took: Mapping[int, Sequence[float]]) -> list[Figure | Curve]:
    """Compare each group with the first."""
    (_, fewest), *more = took.items()
    curve = Curve.of_medians(name, "pulled followees" if "celebrities" in name else "followees", "ms p50", took)
    return [*(Figure(f"{name}.{count}", "ms p50", goal, values, fewest) for count, values in more), curve]
