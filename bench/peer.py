"""`peer.sql.*`: reads of a feed against the usual way without timelines, a join in PostgreSQL at each read.

Both hold the same people, follows and posts. Most posts are of others than those whom a reader follows, and the newest too: where a
billion are made a day, one of 3,000 followees posts every 14 seconds, and 160,000 others meanwhile.
"""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import grpc
from feed.timeline.v1 import timeline_service_pb2

from bench.bench import Bench
from bench.crowd import CONTENT
from bench.figure import Figure, Goal, alternating
from bench.h2load import Target, call, grpc_target, saturate
from bench.join_on_read import QUERIES
from bench.postgres import private_postgres
from bench.read import METHOD, PAGE
from bench.report import say
from meshkit.ids import time_ms_of
from meshkit.process import child
from meshkit.sockets import free_port

_POSTS_EACH = 20
_WARM_UP_S = 1.0
_TRIES = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA = """
    CREATE TABLE users (user_id bigint PRIMARY KEY, username text NOT NULL UNIQUE);
    CREATE TABLE follows (follower_id bigint, followee_id bigint, PRIMARY KEY (follower_id, followee_id));
    CREATE TABLE posts (
        post_id bigint PRIMARY KEY, author_id bigint NOT NULL, content text NOT NULL, media_urls text[] NOT NULL,
        created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, version int NOT NULL
    );
"""
_INDEXES = ("CREATE INDEX ON posts (author_id, post_id DESC)", "CREATE INDEX ON follows (followee_id)", "VACUUM ANALYZE")


@dataclass(frozen=True, slots=True)
class _Community:
    """Who reads, by how many they follow; every follow; and every post with its author."""

    people: Sequence[int]
    readers: Mapping[int, int]
    follows: Sequence[tuple[int, int]]
    posts: Sequence[tuple[int, int]]


async def sql(bench: Bench) -> AsyncIterator[Figure]:
    """Measure readers who follow 300 and 3,000 others, one process on each side."""
    few, many = bench.size(300, 20), bench.size(3_000, 40)
    community = await _settle(bench, (few, many))
    async with private_postgres() as url:
        await _fill(url, community)
        for size, name, goal in ((few, "peer.sql.300", 3), (many, "peer.sql.3000", 20)):
            values, references = await _compare(bench, url, community.readers[size])
            yield Figure(name, "reads/s", Goal.ratio_at_least(goal), values, references)


async def _settle(bench: Bench, sizes: Sequence[int]) -> _Community:
    """Make followees with posts, then others whose posts are newer, and readers of the followees."""
    readers, authors = await bench.crowd.people(len(sizes)), await bench.crowd.people(max(sizes))
    others = await bench.crowd.people(bench.size(10_000, 100))
    follows = [(reader, author) for reader, size in zip(readers, sizes, strict=True) for author in authors[:size]]
    await bench.crowd.follow(follows)
    written = [*authors * _POSTS_EACH, *others * _POSTS_EACH]
    posts = list(zip(await bench.crowd.posts(written), written, strict=True))
    return _Community([*readers, *authors, *others], dict(zip(sizes, readers, strict=True)), follows, posts)


async def _fill(url: str, community: _Community) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(_SCHEMA)
    await connection.copy_records_to_table("users", records=[(user, f"user{user}") for user in community.people])
    await connection.copy_records_to_table("follows", records=community.follows)
    rows = [_row(post, author) for post, author in community.posts]
    await connection.copy_records_to_table("posts", records=rows)
    for statement in _INDEXES:
        await connection.execute(statement)
    await connection.close()


def _row(post_id: int, author_id: int) -> tuple[object, ...]:
    made = _EPOCH + timedelta(milliseconds=time_ms_of(post_id))
    return post_id, author_id, CONTENT, (), made, made, 1


async def _compare(bench: Bench, url: str, reader: int) -> tuple[list[float], list[float]]:
    """Read the same page from both. Raises ValueError when it is not the same."""
    request = timeline_service_pb2.GetHomeTimelineRequest(page_size=PAGE, user_id=reader).SerializeToString()
    mesh, page = await _target(bench.rig.addresses["timeline"], request, bench.rig.as_user(reader))
    async with _joining(bench, url, await _fastest(url, reader)) as address:
        joined, same_page = await _target(address, request, {})
        if len(page.items) != PAGE or list(page.items) != list(same_page.items):
            raise ValueError("the two do not answer the same page")
        for target in (mesh, joined):
            await saturate(target, min(_WARM_UP_S, bench.seconds))
        return await alternating(bench.rounds, lambda: saturate(mesh, bench.seconds), lambda: saturate(joined, bench.seconds))


async def _target(
    address: str, request: bytes, headers: Mapping[str, str]
) -> tuple[Target, timeline_service_pb2.GetHomeTimelineResponse]:
    answer = await call(address, METHOD, request, headers)
    page = timeline_service_pb2.GetHomeTimelineResponse.FromString(answer)
    return grpc_target(address, METHOD, request, answer, headers), page


async def _fastest(url: str, reader: int) -> str:
    """Give the name of the query that takes the least time."""
    connection = await asyncpg.connect(url)
    took = {name: await _median_s(connection, query, reader) for name, query in QUERIES.items()}
    await connection.close()
    say(f"PostgreSQL: {', '.join(f'{name} {seconds * 1e3:.2f} ms' for name, seconds in took.items())}")
    return min(took, key=lambda name: took[name])


async def _median_s(connection: asyncpg.Connection[asyncpg.Record], query: str, reader: int) -> float:
    prepared, taken = await connection.prepare(query), []
    for _ in range(1 + _TRIES):
        began = time.perf_counter()
        await prepared.fetch(reader)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


@asynccontextmanager
async def _joining(bench: Bench, url: str, query: str) -> AsyncIterator[str]:
    """Run the server that joins for the length of a block, and give its address."""
    address = f"127.0.0.1:{free_port()}"

    async def ready() -> bool:
        try:
            return not await call(address, METHOD, b"", {})
        except grpc.aio.AioRpcError:
            return False

    argv = [sys.executable, "-m", "bench.join_on_read", address, url, query]
    async with child(argv, name="join on read", log=bench.rig.folder / "join.log", ready=ready):
        yield address
