"""A deletion is answered when whoever holds a copy of the post was told, over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import grpc
import pytest
from feed.event.v1 import event_pb2

import post_svc.__main__ as post
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import POST_CHANGED, POST_CREATED
from tests.rpc.client import PATIENCE, Tokens, post_settings, refused, stubs, task_of, until
from tests.rpc.inbox import Inbox
from tests.rpc.post_calls import Posts

CODE = grpc.StatusCode
ADA, BOB = 11, 12
Common = dict[str, object]


class Broker:
    """A broker in memory that confirms no broadcast before its gate is open, and then fails as it is told to."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.work, self.listen = queue.work, queue.listen
        self.dead_letters, self.redrive = queue.dead_letters, queue.redrive
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.came = 0
        self._queue = queue

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True, together: bool = False) -> None:
        """Publish, or fail."""
        if topic == POST_CHANGED:
            self.came += 1
            await self.gate.wait()
            if self.failure:
                raise self.failure
        await self._queue.publish(topic, body, mandatory=mandatory, together=together)

    async def asked(self, times: int) -> bool:
        """Tell whether so many broadcasts came."""
        return self.came >= times


@dataclass(frozen=True, slots=True)
class Place:
    """A post service on a broker, and what its listeners hear."""

    posts: Posts
    broker: Broker
    heard: Inbox


@pytest.fixture
async def place(common: Common, queue: MemoryQueue, tokens: Tokens, graph_address: str) -> AsyncIterator[Place]:
    """Run a post service beside a graph service, and listen to it."""
    broker, heard = Broker(queue), Inbox()
    running = post.running(post_settings(common, graph_address=graph_address), cast("Queue", broker))
    async with queue.listen([POST_CHANGED], heard, missed=heard.miss), running as address, stubs(address) as connected:
        yield Place(Posts(connected, tokens), broker, heard)


def told(inbox: Inbox) -> list[tuple[int, int]]:
    """Give posts and versions that an inbox was told of."""
    events = [event_pb2.Event.FromString(body).post_changed for body in inbox.bodies]
    return [(event.post_id, event.version) for event in events]


async def test_a_deletion_is_answered_after_its_broadcast(place: Place) -> None:
    """Until the broker has confirmed it a deletion is not answered, though it is done; edits do not wait."""
    made = await place.posts.create(ADA)
    place.broker.gate.clear()
    edited = await place.posts.write(ADA, made.post_id, "new")
    async with task_of(place.posts.delete(ADA, made.post_id)) as deleting:
        await until(partial(place.broker.asked, 2))
        assert edited.version == 2
        assert await place.posts.lookup(made.post_id) == []
        assert not deleting.done()
        place.broker.gate.set()
        await asyncio.wait_for(deleting, PATIENCE)
        assert (made.post_id, 3) in told(place.heard)


@pytest.mark.parametrize("request_id", ["", "r-1"])
@pytest.mark.parametrize(
    "failure", [UnavailableError("away", reason="AWAY"), OverloadedError("full", reason="QUEUE_FULL")], ids=["away", "full"]
)
async def test_a_deletion_that_is_not_told_is_unavailable(place: Place, failure: Exception, request_id: str) -> None:
    """Without a confirmation the answer is UNAVAILABLE, the post stays deleted, and every repeat tells it again."""
    made = await place.posts.create(ADA)
    place.broker.failure = failure
    for _ in range(3):
        with refused(CODE.UNAVAILABLE, "NOT_IN_EFFECT"):
            await place.posts.delete(ADA, made.post_id, request_id=request_id)
        assert await place.posts.lookup(made.post_id) == []
    assert (place.broker.came, told(place.heard)) == (3, [])
    place.broker.failure = None
    for times in (1, 2):
        await place.posts.delete(ADA, made.post_id, request_id=request_id)
        assert told(place.heard) == [(made.post_id, 2)] * times


async def test_a_broker_that_does_not_answer_is_not_waited_for(place: Place) -> None:
    """A deletion that is not confirmed within two seconds is answered then, and not later."""
    made = await place.posts.create(ADA)
    place.broker.gate.clear()
    began = asyncio.get_running_loop().time()
    with refused(CODE.UNAVAILABLE, "NOT_IN_EFFECT"):
        await place.posts.delete(ADA, made.post_id)
    assert 2 <= asyncio.get_running_loop().time() - began < 4


async def test_repeats_at_once_are_all_told(place: Place) -> None:
    """Each of fifty repeats of a deletion is answered only after a broadcast of its own was confirmed; versions stay."""
    made = await place.posts.create(ADA)
    await asyncio.gather(*(place.posts.delete(ADA, made.post_id, request_id="r-1") for _ in range(50)))
    assert told(place.heard) == [(made.post_id, 2)] * 50


async def test_nobody_has_anothers_or_no_post_told(place: Place) -> None:
    """A deletion that is refused tells nothing."""
    made = await place.posts.create(ADA)
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_AUTHOR"):
        await place.posts.delete(BOB, made.post_id)
    await place.posts.delete(ADA, made.post_id)
    for caller, post_id in ((BOB, made.post_id), (ADA, made.post_id + 1)):
        with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
            await place.posts.delete(caller, post_id)
    assert told(place.heard) == [(made.post_id, 2)]


async def test_a_deletion_that_was_told_leaves_the_outbox(place: Place, common: Common) -> None:
    """The event of a deletion that was answered waits for nobody, and is told no second time."""
    async with place.broker.work("posts", [POST_CREATED], Inbox(), concurrency=1):
        made = await place.posts.create(ADA)
        await place.posts.delete(ADA, made.post_id)
        async with open_sqlite(post_settings(common).data_dir / "posts.db") as table:
            outbox = Outbox(table, cast("Queue", place.broker))

            async def empty() -> bool:
                return await outbox.waiting_count() == 0

            await until(empty)
    assert told(place.heard) == [(made.post_id, 2)]
