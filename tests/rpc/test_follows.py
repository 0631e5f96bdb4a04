"""Edges, over gRPC."""

import asyncio

import grpc
import pytest
from feed.event.v1 import event_pb2
from feed.graph.v1 import follow_service_pb2 as pb

import graph_svc.__main__ as graph
from meshkit.queue.memory import MemoryQueue
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import Tokens, graph_settings, outcome, refused, stubs
from tests.rpc.conftest import People
from tests.rpc.follow_calls import Graph, Range
from tests.rpc.inbox import Inbox

CODE = grpc.StatusCode
ABSENT_ID = 2**63 + 1


async def test_a_follow_is_seen_from_both_sides(follows: Graph, people: People) -> None:
    """An acknowledged edge is in IsFollowing, both lists, both counts and the internal reads; once, and in one direction."""
    ada, bob = await people.ids(2)
    edge = await follows.follow(ada, bob)
    assert (edge.follower_id, edge.followee_id) == (ada, bob)
    assert edge.create_time.seconds > 1_704_067_200
    assert await follows.is_following(ada, bob)
    assert not await follows.is_following(bob, ada)
    assert await follows.all_followers(bob) == await follows.whole_range(bob, Range(), 10) == [ada]
    assert await follows.all_following(ada) == await follows.followee_ids(ada) == [bob]
    assert await follows.all_followers(ada) == await follows.all_following(bob) == await follows.followee_ids(bob) == []
    assert (await follows.counts(ada), await follows.counts(bob)) == ((0, 1), (1, 0))


async def test_an_unfollow_is_seen_from_both_sides(follows: Graph, people: People) -> None:
    """After an acknowledged unfollow nothing of the edge is left, and it can come again with a later time."""
    ada, bob = await people.ids(2)
    first = await follows.follow(ada, bob)
    await follows.unfollow(ada, bob)
    assert not await follows.is_following(ada, bob)
    assert await follows.all_followers(bob) == await follows.all_following(ada) == await follows.followee_ids(ada) == []
    assert (await follows.counts(ada), await follows.counts(bob)) == ((0, 0), (0, 0))
    again = await follows.follow(ada, bob)
    assert again.create_time.ToNanoseconds() >= first.create_time.ToNanoseconds()
    assert await follows.counts(bob) == (1, 0)


async def test_following_and_unfollowing_twice_is_not_an_error(follows: Graph, people: People) -> None:
    """The second follow returns the first edge and the second unfollow does nothing; the counts are of edges, not of calls."""
    ada, bob = await people.ids(2)
    first = await follows.follow(ada, bob)
    assert await follows.follow(ada, bob) == await follows.follow(ada, bob, as_user=ada) == first
    assert await follows.counts(bob) == (1, 0)
    for _ in range(2):
        await follows.unfollow(ada, bob)
        assert (await follows.counts(ada), await follows.counts(bob)) == ((0, 0), (0, 0))
    await follows.unfollow(ada, ABSENT_ID)


async def test_nobody_follows_themselves(follows: Graph, people: People) -> None:
    """Following oneself is INVALID_ARGUMENT with its own reason, and leaves no edge."""
    (ada,) = await people.ids(1)
    with refused(CODE.INVALID_ARGUMENT, "SELF_FOLLOW", "followee_id"):
        await follows.follow(ada, ada)
    assert await follows.counts(ada) == (0, 0)


async def test_both_ends_have_to_exist(follows: Graph, people: People) -> None:
    """An unknown end is NOT_FOUND, names the field, and changes no count."""
    (ada,) = await people.ids(1)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "followee_id"):
        await follows.follow(ada, ABSENT_ID)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "follower_id"):
        await follows.follow(ABSENT_ID, ada)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "follower_id"):
        await follows.follow(ABSENT_ID, ada, request_id="r-1")
    assert await follows.counts(ada) == (0, 0)


async def test_missing_ids_are_refused(follows: Graph) -> None:
    """No id at all is INVALID_ARGUMENT and names the field, for every method."""
    calls, user, service = follows.stubs.follows, follows.tokens.user(1), follows.tokens.service()
    for call in (
        calls.CreateFollow(pb.CreateFollowRequest(), metadata=user),
        calls.DeleteFollow(pb.DeleteFollowRequest(), metadata=user),
        calls.IsFollowing(pb.IsFollowingRequest(), metadata=user),
    ):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "followee_id"):
            await call
    for listing in (
        calls.ListFollowers(pb.ListFollowersRequest(), metadata=user),
        calls.ListFollowing(pb.ListFollowingRequest(), metadata=user),
        calls.ListFollowerRange(pb.ListFollowerRangeRequest(), metadata=service),
        calls.ListFolloweeIds(pb.ListFolloweeIdsRequest(), metadata=service),
    ):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "user_id"):
            await listing


async def test_nobody_follows_for_another(follows: Graph, people: People) -> None:
    """A follower_id that is not the caller is PERMISSION_DENIED, to follow and to unfollow, and changes nothing."""
    ada, bob, eve = await people.ids(3)
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "follower_id"):
        await follows.follow(eve, bob, as_user=ada)
    await follows.follow(ada, bob)
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "follower_id"):
        await follows.unfollow(eve, bob, as_user=ada)
    await follows.unfollow(eve, bob)
    assert await follows.all_followers(bob) == [ada]


async def test_a_repeated_follow_gives_the_first_answer(follows: Graph, people: People) -> None:
    """Fifty repeats at once give one edge; a repeat after an unfollow gives the first answer and does not follow again."""
    ada, bob = await people.ids(2)
    answers = await asyncio.gather(*(follows.follow(ada, bob, request_id="r-1") for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert await follows.counts(bob) == (1, 0)
    await follows.unfollow(ada, bob)
    assert await follows.follow(ada, bob, request_id="r-1") == answers[0]
    assert not await follows.is_following(ada, bob)
    assert await follows.counts(bob) == (0, 0)


async def test_a_request_that_found_an_edge_is_remembered_too(follows: Graph, people: People) -> None:
    """Also a follow that changed nothing is a request's first answer: its repeat after an unfollow does not follow."""
    ada, bob = await people.ids(2)
    first = await follows.follow(ada, bob)
    assert await follows.follow(ada, bob, request_id="r-1") == first
    await follows.unfollow(ada, bob)
    assert await follows.follow(ada, bob, request_id="r-1") == first
    assert not await follows.is_following(ada, bob)


async def test_a_request_id_is_for_one_body_and_one_caller(follows: Graph, people: People) -> None:
    """The same id with another followee is an error; another caller's same id is another request."""
    ada, bob, eve = await people.ids(3)
    await follows.follow(ada, bob, request_id="r-1")
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await follows.follow(ada, eve, request_id="r-1")
    assert await follows.all_following(ada) == [bob]
    await follows.follow(eve, bob, request_id="r-1")
    assert await follows.counts(bob) == (2, 0)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "request_id"):
        await follows.follow(ada, bob, request_id="no spaces")


async def test_a_repeated_unfollow_does_not_undo_a_later_follow(follows: Graph, people: People) -> None:
    """Fifty repeats of an unfollow at once are one; a repeat after a new follow changes nothing; its id is for one body."""
    ada, bob, eve = await people.ids(3)
    await follows.follow(ada, bob)
    await asyncio.gather(*(follows.unfollow(ada, bob, request_id="r-1") for _ in range(50)))
    assert await follows.counts(bob) == (0, 0)
    await follows.follow(ada, bob)
    await follows.unfollow(ada, bob, request_id="r-1")
    assert await follows.is_following(ada, bob)
    await follows.follow(ada, eve)
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await follows.unfollow(ada, eve, request_id="r-1")
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await follows.follow(ada, bob, request_id="r-1")
    assert await follows.all_following(ada) == [bob, eve]


async def test_an_unfollow_that_found_nothing_is_remembered_too(follows: Graph, people: People) -> None:
    """Also an unfollow without an edge is a request's answer: its repeat does not undo a follow that came between."""
    ada, bob = await people.ids(2)
    await follows.unfollow(ada, bob, request_id="r-1")
    await follows.follow(ada, bob)
    await follows.unfollow(ada, bob, request_id="r-1")
    assert await follows.is_following(ada, bob)


async def test_services_have_no_edges(follows: Graph, people: People) -> None:
    """A service speaks for no user: it can neither follow, unfollow nor ask whom it follows."""
    (ada,) = await people.ids(1)
    calls, service = follows.stubs.follows, follows.tokens.service()
    for call in (
        calls.CreateFollow(pb.CreateFollowRequest(followee_id=ada), metadata=service),
        calls.DeleteFollow(pb.DeleteFollowRequest(followee_id=ada), metadata=service),
        calls.IsFollowing(pb.IsFollowingRequest(followee_id=ada), metadata=service),
    ):
        with refused(CODE.PERMISSION_DENIED, "NOT_A_USER"):
            await call


async def test_a_request_id_that_was_used_for_an_existing_edge_is_used(follows: Graph, people: People) -> None:
    """A request id whose follow found the edge there already cannot be used for another body either."""
    ada, bob, eve = await people.ids(3)
    await follows.follow(ada, bob)
    await follows.follow(ada, bob, request_id="r-1")
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await follows.follow(ada, eve, request_id="r-1")
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await follows.follow(ada, bob, request_id="r-1", as_user=ada)


async def test_counts_equal_edges_after_a_storm(follows: Graph, people: People) -> None:
    """Whatever order follows and unfollows of the same edges take effect in, the counts equal the edges, and both sides agree."""
    ids = await people.ids(4)
    pairs = [(one, other) for one in ids for other in ids if one != other]
    storm = [outcome(call(*pair)) for _ in range(8) for pair in pairs for call in (follows.follow, follows.unfollow)]
    await asyncio.gather(*storm)
    edges = {pair for pair in pairs if await follows.is_following(*pair)}
    for user in ids:
        followers = {one for one, other in edges if other == user}
        followees = {other for one, other in edges if one == user}
        assert set(await follows.all_followers(user)) == set(await follows.whole_range(user, Range(), 2)) == followers
        assert set(await follows.all_following(user)) == set(await follows.followee_ids(user)) == followees
        assert await follows.counts(user) == (len(followers), len(followees))


async def test_a_storm_is_answered_with_done_or_contention(follows: Graph, people: People) -> None:
    """Of many follows and unfollows of one edge at once, each succeeds, or says that there is too much at once."""
    ada, bob = await people.ids(2)
    storm = [call(ada, bob) for _ in range(30) for call in (follows.follow, follows.unfollow)]
    for answer in await asyncio.gather(*map(outcome, storm)):
        assert getattr(answer, "reason", "CONTENTION") == "CONTENTION"


async def test_every_change_of_an_edge_is_told(follows: Graph, people: People, queue: MemoryQueue) -> None:
    """Each edge that comes or goes is one event with a version above the one before; what changed nothing tells nothing."""
    ada, bob, eve = await people.ids(3)
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1):
        await follows.follow(ada, bob)
        await follows.follow(ada, bob)
        await follows.unfollow(ada, bob)
        await follows.unfollow(ada, bob)
        await follows.follow(ada, bob)
        await follows.follow(eve, bob)  # last: what came by then is all that comes
        await inbox.wait_for(lambda bodies: len(bodies) >= 4)
    changes = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    adas = sorted((change for change in changes if change.follower_id == ada), key=lambda change: change.edge_version)
    assert [change.following for change in adas] == [True, False, True]
    assert len({change.edge_version for change in adas}) == 3
    assert {change.followee_id for change in changes} == {bob}
    assert len(changes) == 4


async def test_edges_outlive_a_restart(common: dict[str, object], queue: MemoryQueue, tokens: Tokens) -> None:
    """An acknowledged edge is there, on both sides and in the counts, after a stop and a start on the same folder."""
    async with graph.running(graph_settings(common), queue) as address, stubs(address) as connected:
        ada, bob = await People(connected).ids(2)
        await Graph(connected, tokens).follow(ada, bob)
    async with graph.running(graph_settings(common), queue) as address, stubs(address) as connected:
        again = Graph(connected, tokens)
        assert await again.all_followers(bob) == [ada]
        assert await again.all_following(ada) == [bob]
        assert await again.counts(bob) == (1, 0)


@pytest.mark.parametrize("method", ["followers", "following"])
async def test_lists_of_unknown_accounts_are_not_found(follows: Graph, method: str) -> None:
    """Who does not exist has no lists: NOT_FOUND. The internal reads just find nobody."""
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "user_id"):
        await getattr(follows, method)(1, ABSENT_ID)
    assert await follows.followee_ids(ABSENT_ID) == []
    assert await follows.whole_range(ABSENT_ID, Range(), 5) == []
