"""Requests to follow private accounts, over gRPC."""

import asyncio

import grpc
import pytest
from feed.event.v1 import event_pb2
from feed.graph.v1 import follow_pb2
from feed.graph.v1 import follow_request_service_pb2 as pb

from meshkit.queue.memory import MemoryQueue
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import outcome, refused
from tests.rpc.conftest import People
from tests.rpc.feeds import Feeds
from tests.rpc.follow_calls import Graph, Range
from tests.rpc.inbox import Inbox

CODE = grpc.StatusCode
ACTIVE, REQUESTED = follow_pb2.FOLLOW_STATE_ACTIVE, follow_pb2.FOLLOW_STATE_REQUESTED


@pytest.fixture
async def asked(follows: Graph, people: People) -> tuple[int, int]:
    """Give a private account, and who asks to follow it."""
    bob, ada = await people.ids(2)
    await follows.set_private(bob, private=True)
    await follows.follow(ada, bob)
    return bob, ada


async def test_an_approved_request_is_an_edge(follows: Graph, asked: tuple[int, int], queue: MemoryQueue) -> None:
    """An approval makes the edge on both sides, counts and tells it once, and leaves no request; approving twice gives it again."""
    bob, ada = asked
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1):
        edge = await follows.approve(bob, ada)
        assert await follows.approve(bob, ada) == await follows.follow(ada, bob) == edge
        await inbox.wait_for(lambda bodies: len(bodies) >= 1)
    assert (edge.follower_id, edge.followee_id, edge.state) == (ada, bob, ACTIVE)
    changes = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    assert [(change.follower_id, change.followee_id, change.following) for change in changes] == [(ada, bob, True)]
    assert await follows.followee_ids(ada) == [bob]
    assert await follows.whole_range(bob, Range(), 5) == [ada]
    assert (await follows.is_following(ada, bob), await follows.asks(ada, bob)) == (True, False)
    assert await follows.all_of(follows.requests, bob) == await follows.all_of(follows.sent, ada) == []
    assert await follows.counts(bob) == (1, 0)


async def test_a_rejected_request_is_gone(follows: Graph, asked: tuple[int, int]) -> None:
    """A rejection leaves neither edge nor request, cannot be followed by an approval, and does not keep from asking again."""
    bob, ada = asked
    for _ in range(2):
        await follows.reject(bob, ada)
        assert await follows.all_of(follows.requests, bob) == await follows.all_of(follows.sent, ada) == []
        assert not await follows.asks(ada, bob)
        with refused(CODE.NOT_FOUND, "FOLLOW_REQUEST_NOT_FOUND", "follower_id"):
            await follows.approve(bob, ada)
    assert (await follows.follow(ada, bob)).state == REQUESTED
    assert await follows.counts(bob) == (0, 0)


async def test_a_withdrawn_request_is_gone(follows: Graph, asked: tuple[int, int], feeds: Feeds) -> None:
    """DeleteFollow withdraws a request: nothing to approve, and no feed to tell."""
    bob, ada = asked
    await follows.unfollow(ada, bob)
    assert not await follows.asks(ada, bob)
    assert await follows.all_of(follows.requests, bob) == await follows.all_of(follows.sent, ada) == []
    with refused(CODE.NOT_FOUND, "FOLLOW_REQUEST_NOT_FOUND", "follower_id"):
        await follows.approve(bob, ada)
    assert feeds.calls == 0


async def test_edges_and_requests_are_ended_each_by_its_own(follows: Graph, asked: tuple[int, int]) -> None:
    """A rejection ends no edge, and removing a follower ends no request."""
    bob, ada = asked
    await follows.remove_follower(bob, ada)
    assert await follows.asks(ada, bob)
    await follows.approve(bob, ada)
    await follows.reject(bob, ada)
    assert await follows.is_following(ada, bob)
    await follows.remove_follower(bob, ada)
    await follows.remove_follower(bob, ada)
    assert not await follows.is_following(ada, bob)
    assert await follows.whole_range(bob, Range(), 5) == await follows.followee_ids(ada) == []
    assert await follows.counts(bob) == (0, 0)


async def test_only_who_is_asked_answers(follows: Graph, asked: tuple[int, int], people: People) -> None:
    """Another's request is not found, not even by who made it; a rejection by others does nothing."""
    bob, ada = asked
    (eve,) = await people.ids(1)
    for other in (eve, ada):
        with refused(CODE.NOT_FOUND, "FOLLOW_REQUEST_NOT_FOUND", "follower_id"):
            await follows.approve(other, ada)
        await follows.reject(other, ada)
    assert await follows.all_of(follows.requests, bob) == [ada]
    calls, user = follows.stubs.requests, follows.tokens.user(bob)
    for call in (
        calls.ApproveFollowRequest(pb.ApproveFollowRequestRequest(), metadata=user),
        calls.RejectFollowRequest(pb.RejectFollowRequestRequest(), metadata=user),
    ):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "follower_id"):
            await call
    with refused(CODE.PERMISSION_DENIED, "NOT_A_USER"):
        await calls.ListFollowRequests(pb.ListFollowRequestsRequest(), metadata=follows.tokens.service())


async def test_requests_are_listed_on_both_sides(follows: Graph, people: People) -> None:
    """Listings page through who asks and who is asked, and a token is for its viewer and its listing."""
    star, *fans = await people.ids(6)
    for user in (star, *fans):
        await follows.set_private(user, private=True)
    for fan in reversed(fans):
        await follows.follow(fan, star)
        await follows.follow(star, fan)
    for size in (1, 2, 5):
        assert await follows.all_of(follows.requests, star, size) == fans
        assert await follows.all_of(follows.sent, star, size) == fans
    assert await follows.all_of(follows.requests, fans[0]) == await follows.all_of(follows.sent, fans[0]) == [star]
    token = (await follows.requests(star, size=2)).next_page_token
    assert token
    with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
        await follows.requests(fans[0], token)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
        await follows.sent(star, token)
    for listing in (follows.requests, follows.sent):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_size"):
            await listing(star, "", -1)


async def test_repeats_give_the_first_answer(follows: Graph, asked: tuple[int, int], people: People) -> None:
    """A repeated follow, approval, rejection or removal changes nothing more, whatever came between; an id is for one body."""
    bob, ada = asked
    (eve,) = await people.ids(1)
    waiting = await follows.follow(ada, bob, request_id="r-1")
    edges = await asyncio.gather(*(follows.approve(bob, ada, request_id="r-2") for _ in range(20)))
    assert all(edge == edges[0] for edge in edges)
    assert await follows.counts(bob) == (1, 0)
    assert await follows.follow(ada, bob, request_id="r-1") == waiting
    await follows.remove_follower(bob, ada, request_id="r-3")
    await follows.follow(ada, bob)
    assert await follows.approve(bob, ada, request_id="r-2") == edges[0]
    assert (await follows.is_following(ada, bob), await follows.asks(ada, bob)) == (False, True)
    await follows.reject(bob, ada, request_id="r-4")
    await follows.follow(ada, bob)
    await follows.reject(bob, ada, request_id="r-4")
    assert await follows.asks(ada, bob)
    await follows.approve(bob, ada)
    await follows.remove_follower(bob, ada, request_id="r-3")
    assert await follows.is_following(ada, bob)
    for call in (follows.approve, follows.reject, follows.remove_follower):
        with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
            await call(bob, eve, request_id="r-2")


async def test_of_an_approval_and_a_withdrawal_at_once_one_comes_last(follows: Graph, people: People) -> None:
    """However an approval meets a withdrawal or a rejection, there is an edge or nothing, and the counts equal the edges."""
    bob, *fans = await people.ids(11)
    await follows.set_private(bob, private=True)
    for number, ada in enumerate(fans):
        await follows.follow(ada, bob)
        ending = follows.reject(bob, ada) if number % 2 else follows.unfollow(ada, bob)
        answer, _ = await asyncio.gather(outcome(follows.approve(bob, ada)), ending)
        assert getattr(answer, "reason", "FOLLOW_REQUEST_NOT_FOUND") == "FOLLOW_REQUEST_NOT_FOUND"
        assert not await follows.asks(ada, bob)
    edges = [ada for ada in fans if await follows.is_following(ada, bob)]
    assert sorted(await follows.whole_range(bob, Range(), 20)) == edges
    assert await follows.all_of(follows.requests, bob) == []
    assert await follows.counts(bob) == (len(edges), 0)
