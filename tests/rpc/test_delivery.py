"""Authors turn between push and pull, and their posts are stamped with it, over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import grpc
import pytest
from feed.event.v1 import event_pb2
from feed.post.v1.delivery_pb2 import DELIVERY_BOTH, DELIVERY_PULL, DELIVERY_PUSH, DELIVERY_UNSPECIFIED, Delivery

import post_svc.__main__ as post
from meshkit.clock import now_ms
from meshkit.queue.memory import MemoryQueue
from meshkit.topics import AUTHOR_TURNED, POST_CREATED
from tests.rpc.client import Stubs, Tokens, post_settings, refused, stubs
from tests.rpc.faults import refusing
from tests.rpc.inbox import Inbox
from tests.rpc.post_calls import Deliveries, Posts

CODE = grpc.StatusCode
ADA, BOB, EVE = 11, 12, 2**64 - 1


@pytest.fixture
async def post_stubs(common: dict[str, object], queue: MemoryQueue) -> AsyncIterator[Stubs]:
    """Run a post service alone: nothing here depends on who may see what."""
    async with post.running(post_settings(common), queue) as address, stubs(address) as connected:
        yield connected


@pytest.fixture
def deliveries(post_stubs: Stubs, tokens: Tokens) -> Deliveries:
    """Call the delivery service."""
    return Deliveries(post_stubs, tokens)


@pytest.fixture
async def turns(queue: MemoryQueue) -> AsyncIterator[Inbox]:
    """Take the events that ask for timelines to be marked."""
    inbox = Inbox()
    async with queue.work("turns", [AUTHOR_TURNED], inbox, concurrency=8):
        yield inbox


def told(inbox: Inbox) -> list[tuple[int, int]]:
    """Give authors and turns that an inbox was told of."""
    events = [event_pb2.Event.FromString(body).author_turned for body in inbox.bodies]
    return [(event.author_id, event.turn) for event in events]


async def test_an_author_is_pushed_at_first(deliveries: Deliveries) -> None:
    """Whoever was never decided on is PUSH, without a turn, and among nobody who turned; to wish for PUSH is no turn."""
    for found in (await deliveries.get(ADA), await deliveries.set(ADA, DELIVERY_PUSH), await deliveries.get(ADA)):
        assert (found.author_id, found.delivery, found.turn, found.forced) == (ADA, DELIVERY_PUSH, 0, False)
        assert not found.HasField("turn_time")
    assert await deliveries.turned() == []


async def test_a_turn_to_pull_goes_by_way_of_both(deliveries: Deliveries, turns: Inbox) -> None:
    """PULL begins as BOTH with an event, and is PULL when its own turn is finished; PUSH holds at once, and makes no event."""
    began = now_ms()
    both = await deliveries.set(EVE, DELIVERY_PULL)
    assert (both.author_id, both.delivery, both.turn) == (EVE, DELIVERY_BOTH, 1)
    assert began <= both.turn_time.ToMilliseconds() <= now_ms()
    for other in (2, 2**32 - 1):
        await deliveries.finish(EVE, other)
    await deliveries.finish(ADA, 1)
    assert [await deliveries.get(EVE)] == await deliveries.turned() == [both]
    for _ in range(2):
        await deliveries.finish(EVE, 1)
        pulled = await deliveries.get(EVE)
        assert (pulled.delivery, pulled.turn, pulled.turn_time) == (DELIVERY_PULL, 1, both.turn_time)
        assert await deliveries.turned() == [pulled]
    assert await deliveries.set(EVE, DELIVERY_PULL) == pulled
    back = await deliveries.set(EVE, DELIVERY_PUSH)
    assert (back.delivery, back.turn) == (DELIVERY_PUSH, 2)
    for late in (1, 2):
        await deliveries.finish(EVE, late)
    assert await deliveries.turned() == [await deliveries.get(EVE)] == [back]
    await deliveries.set(ADA, DELIVERY_PULL)
    await turns.wait_for(lambda bodies: len(bodies) >= 2)
    assert sorted(told(turns)) == [(ADA, 3), (EVE, 1)]


async def test_a_lost_finish_may_be_late(deliveries: Deliveries) -> None:
    """A finish of an earlier turn to PULL does not finish a later one, whose timelines are not marked yet."""
    for wish in (DELIVERY_PULL, DELIVERY_PUSH, DELIVERY_PULL):
        await deliveries.set(ADA, wish)
    await deliveries.finish(ADA, 1)
    assert (await deliveries.get(ADA)).delivery == DELIVERY_BOTH
    await deliveries.finish(ADA, 3)
    assert (await deliveries.get(ADA)).delivery == DELIVERY_PULL


async def test_the_same_wish_at_once_is_one_turn(deliveries: Deliveries, turns: Inbox) -> None:
    """Fifty wishes at once to turn one author are one turn with one event, and all get its answer."""
    answers = await asyncio.gather(*(deliveries.set(ADA, DELIVERY_PULL) for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].turn == 1
    await deliveries.set(BOB, DELIVERY_PULL)
    await turns.wait_for(lambda bodies: len(bodies) >= 2)
    assert told(turns) == [(ADA, 1), (BOB, 2)]


async def test_turns_at_once_are_counted_one_by_one(
    deliveries: Deliveries, turns: Inbox, common: dict[str, object], queue: MemoryQueue, tokens: Tokens
) -> None:
    """Of sixty authors who turn at once, by two processes on one table, each has a turn of its own, and none is left out."""
    other = post_settings(common, worker=2)
    async with post.running(other, queue) as address, stubs(address) as connected:
        both = (deliveries, Deliveries(connected, tokens))
        answers = await asyncio.gather(*(both[author % 2].set(author, DELIVERY_PULL) for author in range(1, 61)))
    assert sorted(answer.turn for answer in answers) == list(range(1, 61))
    assert await deliveries.turned() == sorted(answers, key=lambda answer: answer.turn)
    await turns.wait_for(lambda bodies: len(bodies) >= 60)
    assert sorted(told(turns)) == sorted((answer.author_id, answer.turn) for answer in answers)


async def test_an_operator_decides_alone(deliveries: Deliveries) -> None:
    """A force holds against unforced wishes until it is ended, which turns nobody; a force for what is so already is no turn."""
    forced = await deliveries.set(ADA, DELIVERY_PUSH, force=True)
    assert (forced.delivery, forced.turn, forced.forced) == (DELIVERY_PUSH, 0, True)
    assert await deliveries.set(ADA, DELIVERY_PULL) == forced
    assert await deliveries.turned() == []
    pulled = await deliveries.set(ADA, DELIVERY_PULL, force=True)
    assert (pulled.delivery, pulled.turn, pulled.forced) == (DELIVERY_BOTH, 1, True)
    await deliveries.finish(ADA, 1)
    assert (await deliveries.set(ADA, DELIVERY_PUSH)).delivery == DELIVERY_PULL
    ended = await deliveries.set(ADA, DELIVERY_UNSPECIFIED, force=True)
    assert (ended.delivery, ended.turn, ended.forced) == (DELIVERY_PULL, 1, False)
    assert await deliveries.turned() == [ended]
    back = await deliveries.set(ADA, DELIVERY_PUSH)
    assert (back.delivery, back.turn, back.forced) == (DELIVERY_PUSH, 2, False)
    assert (await deliveries.set(BOB, DELIVERY_UNSPECIFIED, force=True)).turn == 0


@pytest.mark.parametrize("kind", [b"outbox/", b"turn-log", b"turns", b"delivery/"])
async def test_a_turn_its_place_and_its_event_are_one(deliveries: Deliveries, tmp_path: Path, turns: Inbox, kind: bytes) -> None:
    """Without its event, its row in the log or its count no author turns; the same wish works afterwards."""
    with refusing(tmp_path / "data" / "posts.db", kind), refused(CODE.UNAVAILABLE, "TABLE_FAILED"):
        await deliveries.set(ADA, DELIVERY_PULL)
    assert (await deliveries.get(ADA)).delivery == DELIVERY_PUSH
    assert await deliveries.turned() == []
    await deliveries.set(ADA, DELIVERY_PULL)
    await turns.wait_for(lambda bodies: len(bodies) >= 1)
    assert told(turns) == [(ADA, 1)]


@pytest.mark.parametrize(("wish", "force"), [(DELIVERY_UNSPECIFIED, False), *product((DELIVERY_BOTH, 7), (False, True))])
async def test_only_push_and_pull_can_be_wished_for(deliveries: Deliveries, wish: Delivery.ValueType, force: bool) -> None:  # noqa: FBT001 - a parameter
    """Another delivery is INVALID_ARGUMENT, names the field, and changes nothing."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "delivery"):
        await deliveries.set(ADA, wish, force=force)
    assert await deliveries.turned() == []


async def test_who_turned_is_paged_while_authors_turn(deliveries: Deliveries) -> None:
    """Who asks on from the last turn seen until there are no more has every author's last turn, whoever turns meanwhile."""
    for author in range(1, 31):
        await deliveries.set(author, DELIVERY_PULL)
    wishes = iter([(30, DELIVERY_PUSH), (2, DELIVERY_PUSH), (40, DELIVERY_PULL), (12, DELIVERY_PUSH), (3, DELIVERY_PUSH)])
    seen: dict[int, int] = {}
    after = 0
    while True:
        page = await deliveries.turned(after, 4)
        turns = [author.turn for author in page]
        assert turns == sorted(set(turns))
        assert all(turn > after for turn in turns)
        seen |= {author.author_id: author.turn for author in page}
        if len(page) < 4:
            break
        after = turns[-1]
        if wish := next(wishes, None):
            await deliveries.set(*wish)
    assert seen == {author.author_id: author.turn for author in await deliveries.turned()}
    assert sorted(seen) == [*range(1, 31), 40]
    assert next(wishes, None) is None
    assert await deliveries.turned(max(seen.values())) == []
    assert await deliveries.turned(2**32 - 1) == []


async def test_pages_of_who_turned_have_a_most(deliveries: Deliveries) -> None:
    """A limit of 0, and one over 1,000, is 1,000 authors; a page is as long as asked for where authors turned again and again."""
    for wish in (DELIVERY_PULL, DELIVERY_PUSH) * 3:
        await asyncio.gather(*(deliveries.set(author, wish) for author in range(1, 4)))
    assert [len(await deliveries.turned(0, limit)) for limit in (1, 2, 3, 4)] == [1, 2, 3, 3]
    await asyncio.gather(*(deliveries.set(author, DELIVERY_PULL) for author in range(4, 1_003)))
    assert [len(await deliveries.turned(0, limit)) for limit in (0, 1_000, 1_001, 2**32 - 1)] == [1_000] * 4


async def test_a_post_is_stamped_with_what_its_author_is(deliveries: Deliveries, post_stubs: Stubs, tokens: Tokens) -> None:
    """The stamp of a post is its author's delivery when it was written; edits, deletion and later turns do not change it."""
    posts = Posts(post_stubs, tokens)
    made = {DELIVERY_PUSH: (await posts.create(ADA)).post_id}
    await deliveries.set(ADA, DELIVERY_PULL)
    made[DELIVERY_BOTH] = (await posts.create(ADA)).post_id
    await deliveries.finish(ADA, 1)
    made[DELIVERY_PULL] = (await posts.create(ADA)).post_id
    others = (await posts.create(BOB)).post_id
    await deliveries.set(ADA, DELIVERY_PUSH)
    for delivery, post_id in made.items():
        for deleted, change in ((False, None), (False, posts.write(ADA, post_id, "new")), (True, posts.delete(ADA, post_id))):
            if change:
                await change
            described = await posts.describe(post_id)
            assert (described.author_id, described.delivery, described.deleted) == (ADA, delivery, deleted)
    assert (await posts.describe(others)).delivery == DELIVERY_PUSH
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
        await posts.describe(1)


async def test_the_event_of_a_post_has_its_stamp(
    deliveries: Deliveries, post_stubs: Stubs, tokens: Tokens, queue: MemoryQueue
) -> None:
    """Fan-out learns of a post's stamp from its event; a repeated request gives the post that it made, with the stamp of then."""
    posts, inbox = Posts(post_stubs, tokens), Inbox()
    async with queue.work("posts", [POST_CREATED], inbox, concurrency=1):
        first = await posts.create(ADA, request_id="r-1")
        await deliveries.set(ADA, DELIVERY_PULL)
        await deliveries.finish(ADA, 1)
        second = await posts.create(ADA)
        assert await posts.create(ADA, request_id="r-1") == first
        await inbox.wait_for(lambda bodies: len(bodies) >= 2)
    events = [event_pb2.Event.FromString(body).post_created for body in inbox.bodies]
    assert {event.post_id: event.delivery for event in events} == {first.post_id: DELIVERY_PUSH, second.post_id: DELIVERY_PULL}
