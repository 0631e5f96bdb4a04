"""Private accounts, over gRPC."""

import asyncio

import grpc
from feed.event.v1 import event_pb2
from feed.graph.v1 import follow_pb2, follow_service_pb2, user_pb2, user_service_pb2

from meshkit.queue.memory import MemoryQueue
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import outcome, refused
from tests.rpc.conftest import People
from tests.rpc.follow_calls import Graph, Range
from tests.rpc.inbox import Inbox

CODE = grpc.StatusCode
ACTIVE, REQUESTED = follow_pb2.FOLLOW_STATE_ACTIVE, follow_pb2.FOLLOW_STATE_REQUESTED


async def test_an_account_is_public_until_it_says_otherwise(follows: Graph, people: People) -> None:
    """`private` is false at first, and is what its owner last made it; other edits leave it as it is."""
    made = await people.make()
    user = made.user_id
    assert not made.private
    for private in (True, True, False, False, True):
        assert (await follows.set_private(user, private=private)).private == private
        request = user_service_pb2.GetUserRequest(user_id=user)
        assert (await follows.stubs.users.GetUser(request, metadata=follows.tokens.user(7))).user.private == private
    edit = user_service_pb2.UpdateUserRequest(user=user_pb2.User(user_id=user, bio="new"))
    edited = (await follows.stubs.users.UpdateUser(edit, metadata=follows.tokens.user(user))).user
    assert (edited.private, edited.bio) == (True, "new")


async def test_a_follow_of_a_private_account_is_a_request(follows: Graph, people: People, queue: MemoryQueue) -> None:
    """Who follows a private account waits: no edge, no count, nothing told; asking twice gives the first request."""
    ada, bob, eve = await people.ids(3)
    await follows.set_private(bob, private=True)
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1):
        asked = await follows.follow(ada, bob)
        assert (asked.follower_id, asked.followee_id, asked.state) == (ada, bob, REQUESTED)
        assert asked.create_time.seconds > 1_704_067_200
        assert await follows.follow(ada, bob) == asked
        await follows.follow(ada, eve)
        await inbox.wait_for(lambda bodies: len(bodies) >= 1)
    assert [event_pb2.Event.FromString(body).follow_changed.followee_id for body in inbox.bodies] == [eve]
    assert (await follows.is_following(ada, bob), await follows.asks(ada, bob)) == (False, True)
    assert await follows.whole_range(bob, Range(), 5) == []
    assert await follows.all_following(ada) == await follows.followee_ids(ada) == [eve]
    assert await follows.counts(bob) == (0, 0)


async def test_an_account_that_becomes_private_keeps_its_followers(follows: Graph, people: People) -> None:
    """An edge stays an edge, answered as such; only new followers have to ask."""
    ada, bob, eve = await people.ids(3)
    edge = await follows.follow(ada, bob)
    await follows.set_private(bob, private=True)
    assert edge.state == ACTIVE
    assert await follows.follow(ada, bob) == edge
    assert (await follows.follow(eve, bob)).state == REQUESTED
    assert await follows.whole_range(bob, Range(), 5) == [ada]
    await follows.unfollow(ada, bob)
    assert (await follows.follow(ada, bob)).state == REQUESTED


async def test_an_account_that_becomes_public_answers_no_requests(follows: Graph, people: People) -> None:
    """Requests wait on; who asks again follows at once, and no request is left of that; others can still be approved."""
    ada, bob, eve = await people.ids(3)
    await follows.set_private(bob, private=True)
    for fan in (ada, eve):
        await follows.follow(fan, bob)
    await follows.set_private(bob, private=False)
    assert await follows.all_of(follows.requests, bob) == [ada, eve]
    assert await follows.counts(bob) == (0, 0)
    assert (await follows.follow(ada, bob)).state == ACTIVE
    assert await follows.all_of(follows.requests, bob) == [eve]
    assert await follows.all_of(follows.sent, ada) == []
    assert (await follows.approve(bob, eve)).state == ACTIVE
    assert await follows.counts(bob) == (2, 0)


async def test_a_private_accounts_lists_are_for_followers(follows: Graph, people: People) -> None:
    """Both lists are shown to the account, its followers and services; others are refused, and so are blocked ones."""
    ada, bob, eve = await people.ids(3)
    await follows.follow(ada, bob)
    await follows.set_private(bob, private=True)
    await follows.follow(eve, bob)
    for listing in (follows.followers, follows.following):
        for viewer in (ada, bob):
            await listing(viewer, bob)
        for viewer in (eve, 1):
            with refused(CODE.PERMISSION_DENIED, "NOT_VISIBLE"):
                await listing(viewer, bob)
    service = follows.tokens.service()
    request = follow_service_pb2.ListFollowersRequest(user_id=bob)
    assert [user.user_id for user in (await follows.stubs.follows.ListFollowers(request, metadata=service)).users] == [ada]
    await follows.set_private(bob, private=False)
    await follows.followers(eve, bob)
    await follows.block(bob, eve)
    for viewer, user in ((eve, bob), (bob, eve)):
        with refused(CODE.PERMISSION_DENIED, "NOT_VISIBLE"):
            await follows.followers(viewer, user)


async def test_a_flip_that_races_with_follows_leaves_edges_or_requests(follows: Graph, people: People) -> None:
    """However follows and flips meet, each follower has an edge or a request, as was answered, and the counts equal the edges."""
    star, *fans = await people.ids(7)
    for private in (True, False) * 4:
        answers = await asyncio.gather(
            *(outcome(follows.follow(fan, star)) for fan in fans), follows.set_private(star, private=private)
        )
        edges = []
        for fan, answer in zip(fans, answers[:-1], strict=True):
            assert isinstance(answer, follow_pb2.Follow)
            stands = await follows.is_following(fan, star), await follows.asks(fan, star)
            assert stands == (answer.state == ACTIVE, answer.state == REQUESTED)
            edges += [fan] if stands[0] else []
        assert sorted(await follows.whole_range(star, Range(), 10)) == edges
        assert await follows.all_of(follows.requests, star) == sorted(set(fans) - set(edges))
        assert await follows.counts(star) == (len(edges), 0)
        await asyncio.gather(*(follows.unfollow(fan, star) for fan in fans))
