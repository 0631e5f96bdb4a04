"""What every broker engine has to do."""

import asyncio
import contextlib
from collections import deque

import pytest

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import MAX_BODY_BYTES, DeadLetteredError, Message, Queue, UnroutableError
from meshkit.tracing import continued, trace_id

PATIENCE = 20.0


def unheard() -> None:
    """Take it that nothing was missed."""


class Inbox:
    """A handler that keeps what it gets, and fails as often and as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.messages: list[Message] = []
        self._failures = deque(failures)
        self._came = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        """Take a message."""
        async with self._came:
            self.messages.append(message)
            self._came.notify_all()
        if self._failures:
            raise self._failures.popleft()

    async def has(self, number: int) -> None:
        """Wait until so many messages came."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.messages) >= number)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of what came, in order."""
        return [message.body for message in self.messages]


class Gate:
    """A handler that holds every message until it is opened, and knows the most it ever held."""

    def __init__(self) -> None:
        self.held = 0
        self.most = 0
        self.finished = 0
        self.open = asyncio.Event()
        self.entered = asyncio.Semaphore(0)

    async def __call__(self, _message: Message) -> None:
        """Hold a message."""
        self.held += 1
        self.most = max(self.most, self.held)
        self.entered.release()
        await self.open.wait()
        self.held -= 1
        self.finished += 1


async def send(queue: Queue, *bodies: bytes, topic: str = "topic") -> None:
    """Publish; that an engine reports a dead letter to the sender is its own business."""
    with contextlib.suppress(DeadLetteredError):
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(queue.publish(topic, body) for body in bodies))


async def letters(queue: Queue, name: str, number: int) -> list[str]:
    """Wait until a queue has so many dead letters, and give their reasons."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await queue.dead_letters(name)) < number:  # noqa: ASYNC110  # the port tells nobody of them
            await asyncio.sleep(0)
    return [letter.reason for letter in found]


async def test_a_message_is_handled_once_by_every_bound_queue(queue: Queue) -> None:
    """Each work queue bound to the topic gets a copy, whole; those bound to other topics get none."""
    one, two, other = Inbox(), Inbox(), Inbox()
    async with (
        queue.work("one", ["topic", "more"], one, concurrency=1),
        queue.work("two", ["topic"], two, concurrency=1),
        queue.work("other", ["else"], other, concurrency=1),
    ):
        await send(queue, b"\x00\xff")
        await one.has(1)
        await two.has(1)
    assert one.messages == two.messages == [Message("topic", b"\x00\xff", 1)]
    assert other.messages == []


async def test_consumers_of_one_queue_share_its_messages(queue: Queue) -> None:
    """Two consumers of the same queue each handle some messages, and no message is handled twice."""
    one, two = Gate(), Gate()
    async with (
        queue.work("jobs", ["topic"], one, concurrency=1),
        queue.work("jobs", ["topic"], two, concurrency=1),
        asyncio.TaskGroup() as senders,
    ):
        senders.create_task(send(queue, b"1", b"2"))
        await asyncio.wait_for(one.entered.acquire(), PATIENCE)
        await asyncio.wait_for(two.entered.acquire(), PATIENCE)
        one.open.set()
        two.open.set()
    assert (one.finished, two.finished) == (1, 1)


async def test_a_message_nobody_takes_is_unroutable(queue: Queue) -> None:
    """A mandatory message without a work queue fails, also when somebody listens; a broadcast does not."""
    inbox = Inbox()
    async with queue.listen(["topic"], inbox, missed=unheard):
        with pytest.raises(UnroutableError):
            await queue.publish("topic", b"mandatory")
        await queue.publish("topic", b"broadcast", mandatory=False)
        await inbox.has(1)
    assert inbox.bodies[-1] == b"broadcast"
    await queue.publish("nowhere", b"", mandatory=False)


async def test_a_message_that_is_too_large_is_refused(queue: Queue) -> None:
    """The largest body is taken, one byte more is a ValueError."""
    inbox = Inbox()
    async with queue.work("jobs", ["topic"], inbox, concurrency=1):
        with pytest.raises(ValueError, match="1000000"):
            await queue.publish("topic", b"x" * (MAX_BODY_BYTES + 1))
        await send(queue, b"x" * MAX_BODY_BYTES)
        await inbox.has(1)


async def test_a_failed_message_comes_again(queue: Queue) -> None:
    """A handler that raises gets its message again, and is told how many deliveries there were."""
    inbox = Inbox(ValueError("first"), ValueError("second"))
    async with queue.work("jobs", ["topic"], inbox, concurrency=1, delivery_limit=3):
        await send(queue, b"job")
        await inbox.has(3)
    assert [(message.body, message.delivery) for message in inbox.messages] == [(b"job", delivery) for delivery in (1, 2, 3)]
    assert await queue.dead_letters("jobs") == []


async def test_a_message_that_keeps_failing_is_a_dead_letter(queue: Queue) -> None:
    """After the last delivery the message lies among the dead letters with its reason, and is not delivered again."""
    inbox = Inbox(*[ValueError("poison")] * 3)
    async with queue.work("jobs", ["topic"], inbox, concurrency=1, delivery_limit=3):
        await send(queue, b"bad")
        assert "poison" in (await letters(queue, "jobs", 1))[0]
        await send(queue, b"good")
        await inbox.has(4)
    assert inbox.bodies == [b"bad", b"bad", b"bad", b"good"]
    [letter] = await queue.dead_letters("jobs")
    assert (letter.topic, letter.body) == ("topic", b"bad")


@pytest.mark.parametrize("kind", [UnavailableError, OverloadedError])
async def test_an_outage_does_not_use_up_deliveries(queue: Queue, kind: type[UnavailableError | OverloadedError]) -> None:
    """However long something needed is away or overloaded, the message is tried again, and keeps its tries for real failures."""
    inbox = Inbox(*[kind("away", reason="AWAY")] * 12, ValueError("once"))
    async with queue.work("jobs", ["topic"], inbox, concurrency=1, delivery_limit=2):
        await send(queue, b"job")
        await inbox.has(14)
    assert await queue.dead_letters("jobs") == []


async def test_a_failing_message_does_not_hold_up_others(queue: Queue) -> None:
    """While one message pauses before its next delivery, the queue's others are handled."""
    inbox = Inbox(ValueError("first"))
    async with queue.work("jobs", ["topic"], inbox, concurrency=1):
        await send(queue, b"1", b"2", b"3")
        await inbox.has(4)
    assert sorted(inbox.bodies[1:]) == [b"1", b"2", b"3"]


async def test_dead_letters_can_be_shown_and_redriven(queue: Queue) -> None:
    """Showing dead letters, oldest first, leaves them; redriving gives each, marked, all deliveries again and empties the list."""
    broken = Inbox(*[ValueError("poison")] * 3)
    async with queue.work("jobs", ["topic"], broken, concurrency=1, delivery_limit=1):
        for number, body in enumerate((b"1", b"2", b"3"), start=1):
            await send(queue, body)
            await letters(queue, "jobs", number)
    assert [letter.body for letter in await queue.dead_letters("jobs", limit=2)] == [b"1", b"2"]
    assert await queue.redrive("jobs") == 3
    assert await queue.dead_letters("jobs") == []
    mended = Inbox(ValueError("once more"))
    async with queue.work("jobs", ["topic"], mended, concurrency=1, delivery_limit=2):
        await mended.has(4)
    assert sorted(mended.bodies[1:]) == [b"1", b"2", b"3"]
    assert mended.messages[0].delivery == 1
    assert [message.redriven for message in (*broken.messages, *mended.messages)] == [False] * 3 + [True] * 4
    assert await queue.redrive("jobs") == 0


async def test_redriving_ends_though_messages_keep_failing(queue: Queue) -> None:
    """What fails again at once is moved once by one redriving, and lies among the dead letters again."""
    broken = Inbox(*[ValueError("poison")] * 10)
    async with queue.work("jobs", ["topic"], broken, concurrency=4, delivery_limit=1):
        for number in range(1, 4):
            await send(queue, b"%d" % number)
            await letters(queue, "jobs", number)
        assert await queue.redrive("jobs") == 3
        await broken.has(6)
        await letters(queue, "jobs", 3)
    assert sorted(broken.bodies) == [b"1", b"1", b"2", b"2", b"3", b"3"]


async def test_no_more_than_the_concurrency_is_handled_at_once(queue: Queue) -> None:
    """The queue hands out as many messages at once as it was told, and not one more."""
    gate = Gate()
    async with queue.work("jobs", ["topic"], gate, concurrency=3), asyncio.TaskGroup() as senders:
        senders.create_task(send(queue, *(b"%d" % number for number in range(10))))
        for _ in range(3):
            await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
        gate.open.set()
        for _ in range(7):
            await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
    assert (gate.most, gate.finished) == (3, 10)


async def test_leaving_finishes_what_is_handled_and_keeps_the_rest(queue: Queue) -> None:
    """A consumer that goes ends what it has begun; what still waits goes to the next consumer, once."""
    gate, rest = Gate(), Inbox()
    async with asyncio.TaskGroup() as senders:
        working = contextlib.AsyncExitStack()
        await working.enter_async_context(queue.work("jobs", ["topic"], gate, concurrency=2))
        senders.create_task(send(queue, *(b"%d" % number for number in range(5))))
        for _ in range(2):
            await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
        leaving = senders.create_task(working.aclose())
        assert not (await asyncio.wait({leaving}, timeout=0.0))[0]
        gate.open.set()
        await asyncio.wait_for(leaving, PATIENCE)
        assert gate.finished == 2
        async with queue.work("jobs", ["topic"], rest, concurrency=2):
            await rest.has(3)
    assert len(set(rest.bodies)) == len(rest.bodies) == 3


async def test_a_cancelled_consumer_finishes_too(queue: Queue) -> None:
    """Cancelling whoever holds the context ends it only after what is being handled."""
    gate = Gate()

    async def consume() -> None:
        async with queue.work("jobs", ["topic"], gate, concurrency=1):
            declared.set()
            await asyncio.Event().wait()

    declared = asyncio.Event()
    consumer = asyncio.create_task(consume())
    await asyncio.wait_for(declared.wait(), PATIENCE)
    async with asyncio.TaskGroup() as senders:
        senders.create_task(send(queue, b"job"))
        await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
        consumer.cancel()
        assert not (await asyncio.wait({consumer}, timeout=0.0))[0]
        gate.open.set()
    await asyncio.wait({consumer}, timeout=PATIENCE)
    assert consumer.cancelled()
    assert gate.finished == 1


async def test_errors_come_out_of_the_contexts_as_they_are(queue: Queue) -> None:
    """What the caller raises inside `work` and `listen` is not wrapped or swallowed."""
    with pytest.raises(KeyError):
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1), queue.listen(["topic"], Inbox(), missed=unheard):
            raise KeyError


async def test_a_queue_outlives_its_consumers(queue: Queue) -> None:
    """What is published while nobody consumes a declared queue is there for the next consumer."""
    async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
        pass
    inbox = Inbox()
    async with asyncio.TaskGroup() as senders:
        senders.create_task(send(queue, b"1", b"2"))
        async with queue.work("jobs", ["topic"], inbox, concurrency=1):
            await inbox.has(2)
    assert sorted(inbox.bodies) == [b"1", b"2"]


async def test_listeners_hear_broadcasts_in_order(queue: Queue) -> None:
    """Every listener gets every broadcast of its topics in the order of publishing, and no mandatory message."""
    one, two = Inbox(), Inbox()
    async with (
        queue.work("jobs", ["topic"], Inbox(), concurrency=1),
        queue.listen(["topic", "more"], one, missed=unheard),
        queue.listen(["topic"], two, missed=unheard),
    ):
        for number in range(20):
            await queue.publish("topic", b"%d" % number, mandatory=number % 2 == 1)
        await queue.publish("more", b"last", mandatory=False)
        await one.has(11)
        await two.has(10)
    expected = [b"%d" % number for number in range(0, 20, 2)]
    assert one.bodies == [*expected, b"last"]
    assert two.bodies == expected


async def test_a_broadcast_reaches_work_queues_as_well(queue: Queue) -> None:
    """Each bound work queue gets one copy of a broadcast, whoever listens."""
    work, heard = Inbox(), Inbox()
    async with queue.work("jobs", ["topic"], work, concurrency=1), queue.listen(["topic"], heard, missed=unheard):
        await queue.publish("topic", b"both", mandatory=False)
        await send(queue, b"work")
        await work.has(2)
        await heard.has(1)
    assert (work.bodies, heard.bodies) == ([b"both", b"work"], [b"both"])


async def test_a_listener_hears_nothing_from_before_or_after(queue: Queue) -> None:
    """A listener gets what is published while it listens, no more."""
    inbox, witness = Inbox(), Inbox()
    async with queue.listen(["topic"], witness, missed=unheard):
        await queue.publish("topic", b"before", mandatory=False)
        await witness.has(1)
        async with queue.listen(["topic"], inbox, missed=unheard):
            await queue.publish("topic", b"during", mandatory=False)
            await inbox.has(1)
        await queue.publish("topic", b"after", mandatory=False)
        await witness.has(3)
    assert inbox.bodies == [b"during"]


async def test_a_bad_listener_harms_nobody(queue: Queue) -> None:
    """One that raises or hangs keeps neither workers nor other listeners from their messages, nor itself from later ones."""
    failing, hanging, healthy, work = Inbox(ValueError("bad listener")), Gate(), Inbox(), Inbox()
    async with (
        queue.work("jobs", ["topic"], work, concurrency=1),
        queue.listen(["topic"], failing, missed=unheard),
        queue.listen(["topic"], hanging, missed=unheard),
        queue.listen(["topic"], healthy, missed=unheard),
    ):
        await queue.publish("topic", b"1", mandatory=False)
        await queue.publish("topic", b"2", mandatory=False)
        for inbox in (failing, healthy, work):
            await inbox.has(2)
        hanging.open.set()
    assert failing.bodies == healthy.bodies == [b"1", b"2"]


async def test_messages_carry_their_trace(queue: Queue) -> None:
    """Whoever handles or hears a message works in the trace of its publisher, also when it comes again; without one in none."""
    traces: dict[str, list[str]] = {"work": [], "heard": []}
    work, heard = Inbox(ValueError("once")), Inbox()

    async def handle(message: Message) -> None:
        traces["work"].append(trace_id())
        await work(message)

    async def hear(message: Message) -> None:
        traces["heard"].append(trace_id())
        await heard(message)

    async with queue.work("jobs", ["topic"], handle, concurrency=1), queue.listen(["topic"], hear, missed=unheard):
        with continued("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
            await queue.publish("topic", b"traced", mandatory=False)
        await work.has(2)
        await queue.publish("topic", b"untraced", mandatory=False)
        await work.has(3)
        await heard.has(2)
    assert traces["work"] == ["0af7651916cd43dd8448eb211c80319c"] * 2 + [""]
    assert traces["heard"] == ["0af7651916cd43dd8448eb211c80319c", ""]


async def test_a_queue_nobody_declared_has_no_dead_letters(queue: Queue) -> None:
    """Looking at an unknown queue is not an error."""
    assert await queue.dead_letters("unknown") == []
    assert await queue.redrive("unknown") == 0
