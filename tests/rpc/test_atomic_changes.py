"""A change, its event and its request id are one: when one of them cannot be written, none is."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import cast

import grpc
import pytest
from feed.event.v1 import event_pb2

from graph_svc.domain import Follow, Profile
from graph_svc.events import encode
from graph_svc.follows import FollowRepository
from graph_svc.service import FollowService, UserService
from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from meshkit.lifecycle import background
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import ConditionFailedError, Item, Key, Operation, Table
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import refused
from tests.rpc.conftest import People
from tests.rpc.faults import refusing
from tests.rpc.follow_calls import Graph
from tests.rpc.inbox import Inbox
from tests.rpc.post_calls import Posts

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
ADA = 11
KINDS = [b"outbox/", b"request/"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_post_and_its_event_are_one(posts: Posts, tmp_path: Path, kind: bytes) -> None:
    """Without its event or its request id no post is made, edited or deleted; the same requests work afterwards."""
    file = tmp_path / "data" / "posts.db"
    made = await posts.create(ADA, "old")
    with refusing(file, kind):
        with refused(UNAVAILABLE, "TABLE_FAILED"):
            await posts.create(ADA, "more", request_id="r-1")
        with refused(UNAVAILABLE, "TABLE_FAILED"):
            await posts.write(ADA, made.post_id, "new", request_id="r-2")
        with refused(UNAVAILABLE, "TABLE_FAILED"):
            await posts.delete(ADA, made.post_id, request_id="r-3")
    assert list((await posts.by_author(ADA, ADA)).posts) == [made]
    more = await posts.create(ADA, "more", request_id="r-1")
    assert (await posts.write(ADA, made.post_id, "new", request_id="r-2")).version == 2
    await posts.delete(ADA, made.post_id, request_id="r-3")
    assert list((await posts.by_author(ADA, ADA)).posts) == [more]


@pytest.mark.parametrize("kind", [*KINDS, b"followers/", b"following/"])
async def test_an_edge_and_its_event_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without its event, its request id or its other side no edge comes, and no count changes."""
    ada, bob = await people.ids(2)
    with refusing(tmp_path / "data" / "graph.db", kind), refused(UNAVAILABLE, "TABLE_FAILED"):
        await follows.follow(ada, bob, request_id="r-1")
    assert not await follows.is_following(ada, bob)
    assert await follows.all_followers(bob) == await follows.all_following(ada) == []
    assert (await follows.counts(ada), await follows.counts(bob)) == ((0, 0), (0, 0))
    await follows.follow(ada, bob, request_id="r-1")
    assert await follows.counts(bob) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_edges_end_and_its_event_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without its event or its request id no edge goes."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    with refusing(tmp_path / "data" / "graph.db", kind), refused(UNAVAILABLE, "TABLE_FAILED"):
        await follows.unfollow(ada, bob, request_id="r-1")
    assert await follows.is_following(ada, bob)
    assert await follows.all_followers(bob) == [ada]
    assert await follows.counts(bob) == (1, 0)


@pytest.mark.parametrize("kind", [b"username/", b"user/", b"request/"])
async def test_an_account_and_its_name_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without its name, its profile or its request id no account is made, and the name stays free."""
    with refusing(tmp_path / "data" / "graph.db", kind), refused(UNAVAILABLE, "TABLE_FAILED"):
        await people.make(request_id="r-1")
    user = await people.make("user_0", request_id="r-1")
    assert await follows.counts(user.user_id) == (0, 0)


async def test_versions_of_an_edge_grow_though_the_clock_goes_back(tmp_path: Path, queue: MemoryQueue) -> None:
    """A follow after an unfollow is told with the larger version, also when a restart found the clock an hour behind."""
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1), open_sqlite(tmp_path / "graph.db") as table:
        outbox = Outbox(table, queue)
        users = UserService(table, IdGenerator(0))
        ada, bob = [(await users.create(Profile(name), None)).user_id for name in ("ada", "bob")]
        async with background(outbox.run()):
            for hours in range(3):
                behind = IdGenerator(0, partial(_hours_ago, hours))
                follows = FollowService(table, behind, outbox, encode)
                await follows.follow(ada, bob, None)
                await inbox.wait_for(partial(_has, 2 * hours + 1))
                await follows.unfollow(ada, bob, None)
                await inbox.wait_for(partial(_has, 2 * hours + 2))
    told = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    versions = [change.edge_version for change in told]
    assert versions == sorted(set(versions))
    assert [change.following for change in told] == [True, False] * 3


def _hours_ago(hours: int) -> int:
    return now_ms() - hours * 3_600_000


def _has(number: int, bodies: list[bytes]) -> bool:
    return len(bodies) >= number


async def test_an_unfollow_does_not_remove_a_newer_edge(tmp_path: Path) -> None:
    """An edge that ended and came again is not the one that a slow unfollow saw, though it looks alike."""
    async with MemoryQueue() as queue, open_sqlite(tmp_path / "graph.db") as table:
        ids = IdGenerator(0, now_ms)
        users = UserService(table, ids)
        ada, bob = [(await users.create(Profile(name), None)).user_id for name in ("ada", "bob")]
        follows, edges = FollowService(table, ids, Outbox(table, queue), encode), FollowRepository(table)
        await follows.follow(ada, bob, None)
        seen = await edges.see(ada, bob)
        assert seen
        await follows.unfollow(ada, bob, None)
        again = await follows.follow(ada, bob, None)
        with pytest.raises(ConditionFailedError):
            await table.write(*edges.removal(seen[0], ids.next(), seen[1]))
        assert await follows.follow(ada, bob, None) == again


async def test_follows_of_one_user_share_no_row(tmp_path: Path) -> None:
    """Of follows of the same user most touch no row in common, so that many at once do not get in each other's way."""
    async with open_sqlite(tmp_path / "graph.db") as table:
        edges = FollowRepository(table)
        rows = [{each.key for each in edges.creation(Follow(follower, ADA, 1), None)} for follower in range(1_000, 1_400)]
    pairs = [bool(one & other) for one, other in combinations(rows, 2)]
    assert sum(pairs) / len(pairs) < 0.1


async def test_an_unfollow_whose_look_is_interrupted_is_the_newest_change(tmp_path: Path) -> None:
    """An edge that ends and comes again between an unfollow's two reads, by a clock ahead of ours, ends later than it began."""
    inbox = Inbox()
    async with MemoryQueue() as queue, open_sqlite(tmp_path / "graph.db") as table:
        ids = IdGenerator(0, now_ms)
        users = UserService(table, ids)
        ada, bob = [(await users.create(Profile(name), None)).user_id for name in ("ada", "bob")]
        outbox = Outbox(table, queue)
        ahead = FollowService(table, IdGenerator(1, partial(_hours_ago, -1)), outbox, encode)

        async def come_again() -> None:
            await ahead.unfollow(ada, bob, None)
            await ahead.follow(ada, bob, None)

        async with queue.work("inbox", [FOLLOW_CHANGED], inbox, concurrency=1), background(outbox.run()):
            await FollowService(table, ids, outbox, encode).follow(ada, bob, None)
            between = cast("Table", Interrupted(table, come_again))
            await FollowService(between, ids, outbox, encode).unfollow(ada, bob, None)
            await inbox.wait_for(partial(_has, 4))
        assert await FollowRepository(table).get(ada, bob) is None
    changes = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    newest = max(changes, key=lambda change: change.edge_version)
    assert not newest.following


class Interrupted:
    """A table on which something happens between the first read of one item and the second."""

    def __init__(self, table: Table, event: Callable[[], Awaitable[None]]) -> None:
        self._table = table
        self._event = event
        self._reads = 0

    async def get(self, key: Key) -> Item | None:
        """Read."""
        self._reads += 1
        if self._reads == 2:
            await self._event()
        return await self._table.get(key)

    async def write(self, *operations: Operation) -> None:
        """Write."""
        await self._table.write(*operations)
