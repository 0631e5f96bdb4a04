"""People, follows and posts, written straight into the services' tables: through the services it would take most of the run."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import Self

from bench.rig import Rig
from graph_svc.domain import FollowerPosition, Profile, Tie
from graph_svc.tie_rows import encode_tie, followers_key, tie_key
from graph_svc.user_rows import UserRepository, follower_count_key, follower_shard, following_count_key
from meshkit.engines import open_table
from meshkit.ids import IdGenerator
from meshkit.table.port import Add, Key, Operation, Put, Table
from post_svc.domain import Delivery, Draft, Post
from post_svc.posts import PostRepository

# Fewer than a table's write may have, so that nothing that belongs together is cut.
_OPERATIONS_A_WRITE = 100
_WRITES_AT_ONCE = 32
_WORKER = 1_000
_WAIT_S = 5.0
# About what people write.
CONTENT = "Feeds are read far more often than they are written to, so the work is done once, when a post is made. " + "#" * 37


class Crowd:
    """Makes people, follows and posts. Where they are read by the services, it must be after they are written."""

    def __init__(self, graph: Table, posts: Table, graph_file: Path) -> None:
        self._graph = graph
        self._graph_file = graph_file
        self._table = posts
        self._users = UserRepository(graph)
        self._posts = PostRepository(posts)
        self._ids = IdGenerator(_WORKER)

    @classmethod
    @asynccontextmanager
    async def of(cls, rig: Rig) -> AsyncIterator[Self]:
        """Open the tables of a mesh."""
        async with open_table(rig.table("graph")) as graph, open_table(rig.table("post")) as posts:
            yield cls(graph, posts, rig.table_file("graph"))

    async def people(self, count: int) -> list[int]:
        """Make accounts."""
        made = [self._ids.next() for _ in range(count)]
        operations = (operation for user in made for operation in self._users.creation(user, Profile(f"user{user}")))
        await _write(self._graph, operations)
        return made

    async def follow(self, edges: Sequence[tuple[int, int]]) -> None:
        """Let the first of each pair follow the second."""
        value = encode_tie(Tie(follow_id=self._ids.next(), version=self._ids.next()))
        rows = (
            Put(key, value) for follower, author in edges for key in (tie_key(follower, author), followers_key(author, follower))
        )
        await _write(self._graph, rows)
        counts = Counter(
            key
            for follower, author in edges
            for key in (following_count_key(follower), follower_count_key(author, follower_shard(follower)))
        )
        await _write(self._graph, (Add(key, number) for key, number in counts.items()))

    async def followers(self, author: int, followers: Iterable[int]) -> None:
        """List any number of followers for an author, ascending by position; the followers' own side is left out."""
        value = encode_tie(Tie(follow_id=self._ids.next(), version=self._ids.next()))
        keys = [followers_key(author, follower) for follower in followers]
        await asyncio.to_thread(_put_all, self._graph_file, keys, value)
        counts = Counter(follower_shard(FollowerPosition.from_sort_key(key.sort).user_id) for key in keys)
        await _write(self._graph, (Add(follower_count_key(author, shard), number) for shard, number in counts.items()))

    async def posts(self, authors: Sequence[int], *, delivery: Delivery = Delivery.PUSH) -> list[int]:
        """Let each author post, in this order; nothing is delivered."""
        made = [Post.new(self._ids.next(), author, Draft(CONTENT), delivery) for author in authors]
        await _write(self._table, (operation for post in made for operation in self._posts.creation(post)))
        return [post.post_id for post in made]


async def _write(table: Table, operations: Iterable[Operation]) -> None:
    room = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def write(batch: Sequence[Operation]) -> None:
        try:
            await table.write(*batch)
        finally:
            room.release()

    async with asyncio.TaskGroup() as tasks:
        remaining = iter(operations)
        while batch := list(islice(remaining, _OPERATIONS_A_WRITE)):
            await room.acquire()
            tasks.create_task(write(batch))


def _put_all(file: Path, keys: Iterable[Key], value: bytes) -> None:
    """Write items with the same value past the table: much faster, as nobody waits for each to be durable."""
    with closing(sqlite3.connect(file, timeout=_WAIT_S)) as connection, connection:
        connection.executemany("INSERT INTO items VALUES (?, ?, ?, 0, 1, NULL)", ((*key, value) for key in keys))
