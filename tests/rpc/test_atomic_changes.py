"""A change, its event and its request id are one: when one of them cannot be written, none is."""

from pathlib import Path

import grpc
import pytest

from graph_svc.domain import FollowChanged, Profile
from graph_svc.service import FollowService, UserService
from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from meshkit.outbox import Event, Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.sqlite import open_sqlite
from tests.rpc.client import refused
from tests.rpc.conftest import People
from tests.rpc.faults import refusing
from tests.rpc.follow_calls import Graph
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


async def test_versions_of_an_edge_grow_though_the_clock_goes_back(tmp_path: Path) -> None:
    """A follow after an unfollow has the larger version, also when a restart found the clock an hour behind."""
    told: list[FollowChanged] = []

    def note(event_id: int, changed: FollowChanged) -> Event:
        told.append(changed)
        return Event(event_id, "topic", b"")

    async with MemoryQueue() as queue, open_sqlite(tmp_path / "graph.db") as table:
        ids = IdGenerator(0, now_ms)
        users = UserService(table, ids)
        ada, bob = [(await users.create(Profile(name), None)).user_id for name in ("ada", "bob")]
        for generator in (ids, IdGenerator(0, lambda: now_ms() - 3_600_000), IdGenerator(0, lambda: now_ms() - 7_200_000)):
            follows = FollowService(table, generator, Outbox(table, queue), note)
            await follows.follow(ada, bob, None)
            await follows.unfollow(ada, bob, None)
    versions = [change.follow.version for change in told]
    assert versions == sorted(set(versions))
    assert [change.following for change in told] == [True, False] * 3
