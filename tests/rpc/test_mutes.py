"""Mutes, over gRPC."""

import asyncio

import grpc
from feed.event.v1 import event_pb2
from feed.graph.v1 import mute_service_pb2 as pb

from meshkit.queue.memory import MemoryQueue
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import outcome, refused
from tests.rpc.conftest import People
from tests.rpc.follow_calls import Graph, Range
from tests.rpc.inbox import Inbox

CODE = grpc.StatusCode
ABSENT_ID = 2**63 + 1


async def test_a_muted_author_is_followed_but_not_fed(follows: Graph, people: People) -> None:
    """A mute takes an edge out of what feeds are made of, and out of nothing else; its end brings it back, the same edge."""
    ada, bob = await people.ids(2)
    edge = await follows.follow(ada, bob)
    await follows.mute(ada, bob)
    assert await follows.followee_ids(ada) == await follows.whole_range(bob, Range(), 5) == []
    assert await follows.is_following(ada, bob)
    assert (await follows.all_followers(bob), await follows.all_following(ada)) == ([ada], [bob])
    assert (await follows.counts(ada), await follows.counts(bob)) == ((0, 1), (1, 0))
    await follows.unmute(ada, bob)
    assert await follows.followee_ids(ada) == [bob]
    assert await follows.whole_range(bob, Range(), 5) == [ada]
    assert await follows.follow(ada, bob) == edge
    assert await follows.counts(bob) == (1, 0)


async def test_a_mute_needs_no_edge_and_outlives_one(follows: Graph, people: People) -> None:
    """A follow of somebody muted begins muted, also the next one after an unfollow; only the end of the mute ends that."""
    ada, bob = await people.ids(2)
    await follows.mute(ada, bob)
    assert await follows.counts(ada) == (0, 0)
    for _ in range(2):
        await follows.follow(ada, bob)
        assert await follows.followee_ids(ada) == await follows.whole_range(bob, Range(), 5) == []
        assert await follows.counts(bob) == (1, 0)
        await follows.unfollow(ada, bob)
        assert await follows.all_of(follows.mutes, ada) == [bob]
    await follows.unmute(ada, bob)
    assert await follows.followee_ids(ada) == []
    await follows.follow(ada, bob)
    assert await follows.followee_ids(ada) == [bob]


async def test_an_approved_request_of_a_muted_author_begins_muted(follows: Graph, people: People) -> None:
    """Who mutes while asking gets in muted."""
    ada, bob = await people.ids(2)
    await follows.set_private(bob, private=True)
    await follows.follow(ada, bob)
    await follows.mute(ada, bob)
    assert await follows.asks(ada, bob)
    await follows.approve(bob, ada)
    assert await follows.is_following(ada, bob)
    assert await follows.followee_ids(ada) == []


async def test_muted_edges_leave_no_gaps_in_slices(follows: Graph, people: People) -> None:
    """Slices of followees and followers are as long as asked for while there are more, whoever is muted in between."""
    star, *crowd = await people.ids(13)
    fan = star
    for other in crowd:
        await follows.follow(fan, other)
        await follows.follow(other, star)
    muted = [*crowd[:5], crowd[7], crowd[-1]]
    for other in muted:
        await follows.mute(fan, other)
        await follows.mute(other, star)
    fed = [other for other in crowd if other not in muted]
    assert await follows.followee_ids(fan) == fed
    for limit in range(1, len(fed) + 2):
        assert await follows.followee_ids(fan, limit=limit) == fed[:limit]
        assert await follows.followee_ids(fan, after=fed[0], limit=limit) == fed[1 : limit + 1]
        first = await follows.range(star, limit=limit)
        assert len(first.follower_ids) == min(limit, len(fed))
        assert sorted(await follows.whole_range(star, Range(), limit)) == fed


async def test_mutes_tell_feeds_by_growing_versions(follows: Graph, people: People, queue: MemoryQueue) -> None:
    """Each mute or its end of an edge is one event with a version above the one before; without an edge nothing is told."""
    ada, bob, eve = await people.ids(3)
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1):
        for step in ("mute", "unmute", "mute", "follow", "unmute", "mute", "mute", "unfollow", "unmute", "follow"):
            await getattr(follows, step)(ada, bob)
        await follows.follow(eve, bob)  # last: what came by then is all that comes
        await inbox.wait_for(lambda bodies: len(bodies) >= 4)
    changes = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    adas = sorted((change for change in changes if change.follower_id == ada), key=lambda change: change.edge_version)
    assert [change.following for change in adas] == [True, False, True]
    assert len({change.edge_version for change in adas}) == 3
    assert len(changes) == 4


async def test_a_mute_needs_another_account(follows: Graph, people: People) -> None:
    """Muting oneself, nobody, or who does not exist is refused, and so is muting by who does not exist."""
    (ada,) = await people.ids(1)
    with refused(CODE.INVALID_ARGUMENT, "SELF_MUTE", "muted_id"):
        await follows.mute(ada, ada)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "muted_id"):
        await follows.mute(ada, ABSENT_ID)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "user_id"):
        await follows.mute(ABSENT_ID, ada)
    user = follows.tokens.user(ada)
    for call in (
        follows.stubs.mutes.CreateMute(pb.CreateMuteRequest(), metadata=user),
        follows.stubs.mutes.DeleteMute(pb.DeleteMuteRequest(), metadata=user),
    ):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "muted_id"):
            await call
    await follows.unmute(ada, ABSENT_ID)
    assert await follows.all_of(follows.mutes, ada) == []


async def test_mutes_are_listed_to_who_mutes(follows: Graph, people: People) -> None:
    """A listing pages through the own mutes, oldest account first, with and without edges; the muted are not told."""
    ada, *others = await people.ids(6)
    await follows.follow(ada, others[2])
    for other in reversed(others):
        await follows.mute(ada, other)
    for size in (1, 2, 5):
        assert await follows.all_of(follows.mutes, ada, size) == others
    assert await follows.all_of(follows.mutes, others[0]) == []
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_size"):
        await follows.mutes(ada, size=-1)


async def test_a_repeated_request_mutes_once(follows: Graph, people: People) -> None:
    """A repeat of a mute after its end does not mute again, nor does one of an end unmute; an id is for one body."""
    ada, bob, eve = await people.ids(3)
    await asyncio.gather(*(follows.mute(ada, bob, request_id="r-1") for _ in range(20)))
    await follows.unmute(ada, bob, request_id="r-2")
    await follows.mute(ada, bob, request_id="r-1")
    assert await follows.all_of(follows.mutes, ada) == []
    await follows.mute(ada, bob)
    await follows.unmute(ada, bob, request_id="r-2")
    assert await follows.all_of(follows.mutes, ada) == [bob]
    for call in (follows.mute, follows.unmute):
        with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
            await call(ada, eve, request_id="r-1")


async def test_a_mute_that_races_with_follows_holds(follows: Graph, people: People) -> None:
    """However a mute and follows and unfollows meet, the mute holds for whatever edge there is afterwards."""
    for _ in range(12):
        ada, bob = await people.ids(2)
        storm = [follows.follow(ada, bob), follows.mute(ada, bob), follows.unfollow(ada, bob), follows.follow(ada, bob)]
        for answer in await asyncio.gather(*map(outcome, storm)):
            assert not hasattr(answer, "reason"), answer
        assert await follows.followee_ids(ada) == await follows.whole_range(bob, Range(), 5) == []
        relation = await follows.relation(ada, bob)
        assert (relation.muted, relation.in_feed) == (True, False)
        assert await follows.counts(bob) == (int(relation.following), 0)
