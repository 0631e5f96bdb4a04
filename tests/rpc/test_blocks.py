"""Blocks, over gRPC."""

import asyncio

import grpc
import pytest
from feed.event.v1 import event_pb2
from feed.graph.v1 import block_service_pb2 as pb

from meshkit.queue.memory import MemoryQueue
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import failure_of, outcome, refused
from tests.rpc.conftest import People
from tests.rpc.feeds import Feeds
from tests.rpc.follow_calls import Graph, Range
from tests.rpc.inbox import Inbox

CODE = grpc.StatusCode
ABSENT_ID = 2**63 + 1


async def test_a_block_cuts_the_follows_both_ways(follows: Graph, people: People) -> None:
    """After a block neither follows the other, in any list or count; others' edges stay."""
    ada, bob, eve = await people.ids(3)
    for one, other in ((ada, bob), (bob, ada), (eve, ada), (ada, eve)):
        await follows.follow(one, other)
    await follows.block(ada, bob)
    assert not await follows.is_following(ada, bob)
    assert not await follows.is_following(bob, ada)
    assert (
        await follows.all_following(ada) == await follows.all_followers(ada) == await follows.whole_range(ada, Range(), 5) == [eve]
    )
    assert await follows.followee_ids(bob) == await follows.whole_range(bob, Range(), 5) == []
    assert await follows.counts(ada) == (1, 1)
    assert await follows.counts(bob) == (0, 0)


async def test_a_block_ends_requests_both_ways(follows: Graph, people: People) -> None:
    """After a block nobody asks the other any more, and there is nothing to approve."""
    ada, bob = await people.ids(2)
    for user in (ada, bob):
        await follows.set_private(user, private=True)
    await follows.follow(ada, bob)
    await follows.follow(bob, ada)
    await follows.block(ada, bob)
    for one, other in ((ada, bob), (bob, ada)):
        assert await follows.all_of(follows.requests, one) == await follows.all_of(follows.sent, one) == []
        with refused(CODE.NOT_FOUND, "FOLLOW_REQUEST_NOT_FOUND", "follower_id"):
            await follows.approve(one, other)


async def test_nobody_follows_across_a_block(follows: Graph, people: People) -> None:
    """While a block stands both directions are refused, in the same words, private or not; afterwards following works."""
    ada, bob = await people.ids(2)
    await follows.block(ada, bob)
    words = set()
    for private in (False, True):
        for user in (ada, bob):
            await follows.set_private(user, private=private)
        for one, other in ((ada, bob), (bob, ada)):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await follows.follow(one, other)
            failure = failure_of(raised.value)
            assert (failure.code, failure.reason) == (CODE.PERMISSION_DENIED, "FOLLOW_REFUSED")
            words.add(failure.text)
            assert not await follows.asks(one, other)
    assert len(words) == 1
    await follows.unblock(ada, bob)
    await follows.set_private(ada, private=False)
    assert not await follows.is_following(bob, ada)
    await follows.follow(bob, ada)
    assert await follows.all_followers(ada) == [bob]


async def test_each_ends_only_the_own_block(follows: Graph, people: People) -> None:
    """Where both block, following is refused until both have ended their block; blocking and unblocking twice are no errors."""
    ada, bob = await people.ids(2)
    for _ in range(2):
        await follows.block(ada, bob)
        await follows.block(bob, ada)
    for _ in range(2):
        await follows.unblock(ada, bob)
    for one, other in ((ada, bob), (bob, ada)):
        with refused(CODE.PERMISSION_DENIED, "FOLLOW_REFUSED"):
            await follows.follow(one, other)
    await follows.unblock(bob, ada)
    await follows.follow(ada, bob)
    assert await follows.counts(bob) == (1, 0)


async def test_a_block_needs_another_account(follows: Graph, people: People) -> None:
    """Blocking oneself, nobody, or who does not exist is refused, and so is blocking by who does not exist."""
    (ada,) = await people.ids(1)
    with refused(CODE.INVALID_ARGUMENT, "SELF_BLOCK", "blocked_id"):
        await follows.block(ada, ada)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "blocked_id"):
        await follows.block(ada, ABSENT_ID)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "user_id"):
        await follows.block(ABSENT_ID, ada)
    user = follows.tokens.user(ada)
    for call in (
        follows.stubs.blocks.CreateBlock(pb.CreateBlockRequest(), metadata=user),
        follows.stubs.blocks.DeleteBlock(pb.DeleteBlockRequest(), metadata=user),
    ):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "blocked_id"):
            await call
    await follows.unblock(ada, ABSENT_ID)
    assert await follows.all_of(follows.blocks, ada) == []


async def test_blocks_are_listed_to_the_blocker(follows: Graph, people: People) -> None:
    """A listing pages through the own blocks, oldest account first; the blocked have none, and others' tokens do not open."""
    ada, *others = await people.ids(6)
    for other in reversed(others):
        await follows.block(ada, other)
    for size in (1, 2, 5):
        assert await follows.all_of(follows.blocks, ada, size) == others
    assert await follows.all_of(follows.blocks, others[0]) == []
    token = (await follows.blocks(ada, size=2)).next_page_token
    for caller, listing in ((others[0], follows.blocks), (ada, follows.mutes)):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
            await listing(caller, token)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_size"):
        await follows.blocks(ada, size=-1)


async def test_a_repeated_request_blocks_once(follows: Graph, people: People) -> None:
    """A repeat of a block after its end does not block again, nor does one of an end unblock; an id is for one body."""
    ada, bob, eve = await people.ids(3)
    await asyncio.gather(*(follows.block(ada, bob, request_id="r-1") for _ in range(20)))
    await follows.unblock(ada, bob, request_id="r-2")
    await follows.block(ada, bob, request_id="r-1")
    assert await follows.all_of(follows.blocks, ada) == []
    await follows.block(ada, bob)
    await follows.unblock(ada, bob, request_id="r-2")
    assert await follows.all_of(follows.blocks, ada) == [bob]
    for call in (follows.block, follows.unblock):
        with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
            await call(ada, eve, request_id="r-1")


async def test_a_block_is_told_for_each_feed_that_loses_somebody(
    follows: Graph, people: People, queue: MemoryQueue, feeds: Feeds
) -> None:
    """Each cut edge is one event that the posts went, with the version that its feed was told; without edges nothing is told."""
    ada, bob, eve = await people.ids(3)
    await follows.follow(ada, bob)
    await follows.follow(bob, ada)
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1):
        await follows.block(ada, bob)
        await follows.block(ada, eve)
        await follows.follow(bob, eve)  # last: what came by then is all that comes
        await inbox.wait_for(lambda bodies: len(bodies) >= 3)
    changes = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    gone = {(change.follower_id, change.followee_id): change.edge_version for change in changes if not change.following}
    assert gone == {(ada, bob): feeds.versions[ada, bob], (bob, ada): feeds.versions[bob, ada]}
    assert len(changes) == 3


async def test_no_edge_survives_a_block_that_races_with_follows(follows: Graph, people: People) -> None:
    """However blocks and follows meet, a block that stands afterwards stands alone, and the counts equal the edges."""
    for _ in range(12):
        ada, bob = await people.ids(2)
        storm = [follows.follow(ada, bob), follows.block(bob, ada), follows.follow(bob, ada), follows.follow(ada, bob)]
        answers = await asyncio.gather(*map(outcome, storm))
        assert {getattr(answer, "reason", "FOLLOW_REFUSED") for answer in answers} == {"FOLLOW_REFUSED"}
        for one, other in ((ada, bob), (bob, ada)):
            assert not await follows.is_following(one, other)
            assert await follows.all_followers(one) == await follows.all_following(one) == []
            assert await follows.counts(one) == (0, 0)


async def test_no_edge_survives_a_block_that_races_with_an_approval(follows: Graph, people: People) -> None:
    """However a block and an approval meet, the block stands alone: no edge, no request, no count."""
    for number in range(12):
        ada, bob = await people.ids(2)
        await follows.set_private(bob, private=True)
        await follows.follow(ada, bob)
        blocking = follows.block(ada, bob) if number % 2 else follows.block(bob, ada)
        answers = await asyncio.gather(*map(outcome, (follows.approve(bob, ada), blocking)))
        assert getattr(answers[0], "reason", "FOLLOW_REQUEST_NOT_FOUND") == "FOLLOW_REQUEST_NOT_FOUND"
        assert not await follows.is_following(ada, bob)
        assert not await follows.asks(ada, bob)
        assert await follows.all_of(follows.requests, bob) == []
        assert await follows.counts(bob) == (0, 0)
