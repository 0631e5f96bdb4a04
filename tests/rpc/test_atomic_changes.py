"""A change, its event and its request id are one: when one of them cannot be written, none is."""

from functools import partial
from itertools import combinations
from pathlib import Path

import grpc
import pytest
from feed.event.v1 import event_pb2

from graph_svc.domain import Tie
from graph_svc.revision import Revision
from graph_svc.ties import TieRepository
from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from meshkit.lifecycle import background
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import Put
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import refused
from tests.rpc.conftest import People
from tests.rpc.faults import refusing
from tests.rpc.follow_calls import Graph, Range
from tests.rpc.graph_parts import graph_parts
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


@pytest.mark.parametrize("kind", [*KINDS, b"followers/", b"ties/"])
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


@pytest.mark.parametrize("kind", [*KINDS, b"left/"])
async def test_an_edges_end_and_its_event_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without its event, its request id or its note for feeds no edge goes."""
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


@pytest.mark.parametrize("kind", [*KINDS, b"blocks/", b"ties/", b"left/"])
async def test_a_block_and_what_it_cuts_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without its row, its events, its request id or an edge's end there is no block, and both edges and counts stay."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    await follows.follow(bob, ada)
    with refusing(tmp_path / "data" / "graph.db", kind), refused(UNAVAILABLE, "TABLE_FAILED"):
        await follows.block(ada, bob, request_id="r-1")
    assert not (await follows.relation(ada, bob)).blocking
    assert await follows.followee_ids(ada) == await follows.all_followers(ada) == [bob]
    assert (await follows.counts(ada), await follows.counts(bob)) == ((1, 1), (1, 1))
    await follows.block(ada, bob, request_id="r-1")
    assert (await follows.counts(ada), await follows.counts(bob)) == ((0, 0), (0, 0))


@pytest.mark.parametrize("kind", [*KINDS, b"mutes/", b"followers/"])
async def test_a_mute_and_its_event_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without its row, its event, its request id or the edge's other side nobody is muted."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    with refusing(tmp_path / "data" / "graph.db", kind), refused(UNAVAILABLE, "TABLE_FAILED"):
        await follows.mute(ada, bob, request_id="r-1")
    relation = await follows.relation(ada, bob)
    assert (relation.muted, relation.in_feed) == (False, True)
    assert await follows.whole_range(bob, Range(), 5) == [ada]


@pytest.mark.parametrize("kind", [b"requests/", b"requested/", b"request/"])
async def test_both_sides_of_a_request_are_one(follows: Graph, people: People, tmp_path: Path, kind: bytes) -> None:
    """Without one of its sides or its request id nobody asks."""
    ada, bob = await people.ids(2)
    await follows.set_private(bob, private=True)
    with refusing(tmp_path / "data" / "graph.db", kind), refused(UNAVAILABLE, "TABLE_FAILED"):
        await follows.follow(ada, bob, request_id="r-1")
    assert not await follows.asks(ada, bob)
    assert await follows.all_of(follows.requests, bob) == await follows.all_of(follows.sent, ada) == []


async def test_versions_of_an_edge_grow_though_the_clock_goes_back(tmp_path: Path, queue: MemoryQueue) -> None:
    """Each change of a feed is told with a larger version, also when restarts found the clock hours behind."""
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1), open_sqlite(tmp_path / "graph.db") as table:
        outbox = Outbox(table, queue, sweep_seconds=3_600)  # each event is sent at once
        ada, bob = await graph_parts(table, outbox, IdGenerator(0)).people("ada", "bob")
        async with background(outbox.run()):
            for hours in range(3):
                behind = graph_parts(table, outbox, IdGenerator(0, partial(_hours_ago, hours)))
                steps = (behind.follows.follow, behind.mutes.mute, behind.mutes.unmute, behind.follows.unfollow)
                for number, step in enumerate(steps, 1):
                    await step(ada, bob, None)
                    await inbox.wait_for(partial(_has, 4 * hours + number))
    told = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    versions = [change.edge_version for change in told]
    assert versions == sorted(set(versions))
    assert [change.following for change in told] == [True, False] * 6


def _hours_ago(hours: int) -> int:
    return now_ms() - hours * 3_600_000


def _has(number: int, bodies: list[bytes]) -> bool:
    return len(bodies) >= number


async def test_follows_of_one_user_share_no_row(tmp_path: Path) -> None:
    """Of follows of the same user most touch no row in common, so that many at once do not get in each other's way."""
    async with open_sqlite(tmp_path / "graph.db") as table:
        ties = TieRepository(table)
        seen = [await ties.see(follower, ADA) for follower in range(1_000, 1_400)]
    rows = [{each.key for each in Revision(one, one.relation.tie.followed(1)).operations} for one in seen]
    pairs = [bool(one & other) for one, other in combinations(rows, 2)]
    assert sum(pairs) / len(pairs) < 0.1


async def test_only_what_has_ended_expires(tmp_path: Path) -> None:
    """An edge, a request and a mute are kept for ever, also after an end; an end is kept longer than any clock is wrong."""
    async with open_sqlite(tmp_path / "graph.db") as table:
        seen = await TieRepository(table).see(ADA, ADA + 1)
        ended = Tie(version=5)
        for standing in (
            ended.followed(9),
            ended.requested(9),
            ended.with_mute(9, muted=True),
            ended.followed(9).cut(10).followed(11),
        ):
            puts = [each for each in Revision(seen, standing).operations if isinstance(each, Put)]
            assert len(puts) >= 2
            assert {each.expires_at for each in puts} == {None}
        (put,) = [each for each in Revision(seen, ended.followed(9).cut(10)).operations if isinstance(each, Put)]
        assert (put.expires_at or 0) > now_ms() / 1000 + 86_400
