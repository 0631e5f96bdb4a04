"""What the embedded broker promises beyond the port."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.memory_work import QueueBounds
from meshkit.queue.pauses import FIRST_PAUSE, MAX_PAUSE, jittered_pause
from meshkit.queue.port import DeadLetteredError, Message

PATIENCE = 20.0


def unheard() -> None:
    """Take it that nothing was missed."""


async def ignore(_message: Message) -> None:
    """Handle a message without doing anything."""


def at_once(_deliveries: int) -> float:
    """Pause not at all."""
    return 0.0


def hold(gate: asyncio.Event, entered: asyncio.Semaphore) -> Callable[[Message], Awaitable[None]]:
    """Give a handler that waits for the gate."""

    async def handler(_message: Message) -> None:
        entered.release()
        await gate.wait()

    return handler


async def idle(task: asyncio.Task[None]) -> bool:
    """Let everything that can run do so, and tell whether the task still waits."""
    return not (await asyncio.wait({task}, timeout=0.0))[0]


@given(deliveries=st.integers(1, 10_000))
def test_pauses_double_up_to_their_maximum(deliveries: int) -> None:
    """A pause is between half its ceiling and its ceiling, which doubles with every delivery and ends at 10 seconds."""
    ceiling = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(deliveries - 1, 20))
    assert ceiling / 2 <= jittered_pause(deliveries) <= ceiling <= 10.0


async def test_each_retry_asks_for_its_pause() -> None:
    """The pause before a delivery follows from how many there were, outages or not."""
    asked: list[int] = []

    def pause(deliveries: int) -> float:
        asked.append(deliveries)
        return 0.0

    async def handler(message: Message) -> None:
        if message.delivery < 4:
            raise UnavailableError("away", reason="AWAY") if message.delivery % 2 else ValueError("bad")

    async with MemoryQueue(pause=pause) as queue, queue.work("jobs", ["topic"], handler, concurrency=1):
        await queue.publish("topic", b"")
    assert asked == [1, 2, 3]


async def test_publishing_ends_when_every_queue_has_handled() -> None:
    """The sender waits for the slowest bound queue, and a broadcast for none."""
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)
    async with (
        MemoryQueue() as queue,
        queue.work("quick", ["topic"], ignore, concurrency=1),
        queue.work("slow", ["topic"], hold(gate, entered), concurrency=2),
    ):
        sending = asyncio.create_task(queue.publish("topic", b""))
        await entered.acquire()
        await queue.publish("topic", b"", mandatory=False)
        assert await idle(sending)
        gate.set()
        await asyncio.wait_for(sending, PATIENCE)


async def test_no_delivery_is_the_last() -> None:
    """A handler does not take a dead letter for kept: it goes with the process, and the publisher, who is told, sends it again."""
    marks = []

    async def refuse(message: Message) -> None:
        marks.append(message.last)
        raise ValueError("refused")

    async with MemoryQueue(pause=at_once) as queue, queue.work("jobs", ["topic"], refuse, concurrency=1, delivery_limit=2):
        with pytest.raises(DeadLetteredError):
            await queue.publish("topic", b"job")
    assert marks == [False, False]


async def test_the_sender_is_told_of_a_dead_letter() -> None:
    """A message that one queue gives up fails for its sender, but only when the other queues have handled it."""
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def fail(_message: Message) -> None:
        raise ValueError("poison")

    async with (
        MemoryQueue(pause=at_once) as queue,
        queue.work("bad", ["topic"], fail, concurrency=1, delivery_limit=2),
        queue.work("good", ["topic"], hold(gate, entered), concurrency=1),
    ):
        sending = asyncio.create_task(queue.publish("topic", b""))
        async with asyncio.timeout(PATIENCE):
            while not await queue.dead_letters("bad"):
                assert await idle(sending)
        for _ in range(5):
            assert await idle(sending)
        gate.set()
        with pytest.raises(DeadLetteredError, match="poison"):
            await asyncio.wait_for(sending, PATIENCE)


@pytest.mark.parametrize("bounds", [QueueBounds(messages=2), QueueBounds(bytes=20)])
async def test_a_full_queue_refuses(bounds: QueueBounds) -> None:
    """A queue that holds its bound in messages or bytes refuses more, for all queues of the topic; handling makes room."""
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    async with MemoryQueue(bounds=bounds) as queue, queue.listen(["topic"], hear, missed=unheard):
        async with queue.work("jobs", ["topic"], hold(gate, entered), concurrency=1), asyncio.TaskGroup() as senders:
            for _ in range(2):
                senders.create_task(queue.publish("topic", b"x" * 10))
            await entered.acquire()
            with pytest.raises(OverloadedError):
                await queue.publish("topic", b"x")
            with pytest.raises(OverloadedError):
                await queue.publish("topic", b"x", mandatory=False)
            assert not heard
            gate.set()
        async with queue.work("jobs", ["topic"], ignore, concurrency=1):
            await queue.publish("topic", b"x" * 10)
        await queue.publish("topic", b"x", mandatory=False)
    assert len(heard) == 1


async def test_closing_fails_those_who_wait() -> None:
    """Senders whose messages wait, are being handled or pause get UnavailableError at the close, and so does all use after it."""
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def handler(message: Message) -> None:
        if message.body == b"pausing":
            raise ValueError("again in an hour")
        await hold(gate, entered)(message)

    queue = MemoryQueue(pause=lambda _deliveries: 3600.0)
    async with queue.work("jobs", ["topic"], handler, concurrency=1):
        bodies = (b"pausing", b"handled", b"waiting")
        sending = [asyncio.create_task(queue.publish("topic", body)) for body in bodies]
        await entered.acquire()
        queue.close()
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        gate.set()
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    for call in (queue.publish("topic", b"", mandatory=False), queue.redrive("jobs")):
        with pytest.raises(UnavailableError):
            await call
    with pytest.raises(UnavailableError):
        async with queue.work("jobs", ["topic"], ignore, concurrency=1):
            pass


async def test_a_sender_that_gives_up_takes_nothing_back() -> None:
    """A message whose sender was cancelled is handled all the same."""
    handled = asyncio.Event()

    async def handler(_message: Message) -> None:
        handled.set()

    async with MemoryQueue() as queue:
        async with queue.work("jobs", ["topic"], ignore, concurrency=1):
            pass
        sending = asyncio.create_task(queue.publish("topic", b""))
        assert await idle(sending)
        sending.cancel()
        async with queue.work("jobs", ["topic"], handler, concurrency=1):
            await asyncio.wait_for(handled.wait(), PATIENCE)


async def test_a_cancelled_handler_keeps_its_message_in_the_queue() -> None:
    """When leaving itself is cancelled, what was being handled is not lost: the next consumer gets it."""
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)
    deliveries: list[int] = []

    async def keep(message: Message) -> None:
        deliveries.append(message.delivery)

    async with MemoryQueue(pause=at_once) as queue:
        working = contextlib.AsyncExitStack()
        await working.enter_async_context(queue.work("jobs", ["topic"], hold(gate, entered), concurrency=1))
        sending = asyncio.create_task(queue.publish("topic", b""))
        await entered.acquire()
        leaving = asyncio.create_task(working.aclose())
        assert await idle(leaving)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        async with queue.work("jobs", ["topic"], keep, concurrency=1):
            await asyncio.wait_for(sending, PATIENCE)
    assert deliveries == [2]


async def test_a_slow_listener_loses_the_oldest() -> None:
    """A listener that is too far behind keeps the newest messages, and one warning tells of it."""
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)
    heard: list[bytes] = []

    async def handler(message: Message) -> None:
        heard.append(message.body)
        await hold(gate, entered)(message)

    async with MemoryQueue(bounds=QueueBounds(listener=3)) as queue, queue.listen(["topic"], handler, missed=unheard):
        with capture_logs() as logs:
            for number in range(10):
                await queue.publish("topic", b"%d" % number, mandatory=False)
                if not number:
                    await entered.acquire()
        gate.set()
        for _ in range(3):
            await asyncio.wait_for(entered.acquire(), PATIENCE)
    assert heard == [b"0", b"7", b"8", b"9"]
    assert [log["event"] for log in logs] == ["queue.listener_too_slow"]


async def test_dead_letters_are_bounded() -> None:
    """Of too many dead letters the oldest are lost, which is logged; redriving takes back only what there is room for."""

    async def fail(_message: Message) -> None:
        raise ValueError("poison")

    async with MemoryQueue(bounds=QueueBounds(messages=1, dead_letters=2)) as queue:
        with capture_logs() as logs:
            async with queue.work("jobs", ["topic"], fail, concurrency=1, delivery_limit=1):
                for number in range(3):
                    with pytest.raises(DeadLetteredError):
                        await queue.publish("topic", b"%d" % number)
        assert [letter.body for letter in await queue.dead_letters("jobs")] == [b"1", b"2"]
        assert "queue.dead_letter_lost" in [log["event"] for log in logs]
        assert await queue.redrive("jobs") == 1
        assert [letter.body for letter in await queue.dead_letters("jobs")] == [b"2"]


@pytest.mark.parametrize(("concurrency", "delivery_limit"), [(0, 1), (1, 0)])
async def test_senseless_workers_are_refused(concurrency: int, delivery_limit: int) -> None:
    """A consumer that could handle nothing is a programming error."""
    async with MemoryQueue() as queue:
        with pytest.raises(ValueError, match="1 or more"):
            async with queue.work("jobs", [], ignore, concurrency=concurrency, delivery_limit=delivery_limit):
                pass


async def test_a_listener_is_told_what_it_missed() -> None:
    """Whoever listens is told when messages were dropped unheard, and when its handler failed."""
    missed, heard = asyncio.Event(), asyncio.Event()

    async def hear(message: Message) -> None:
        if message.body == b"bad":
            raise ValueError("bad")
        await heard.wait()

    async with MemoryQueue(bounds=QueueBounds(listener=2)) as queue:
        async with queue.listen(["topic"], hear, missed=missed.set):
            for number in range(5):
                await queue.publish("topic", b"%d" % number, mandatory=False)
            assert missed.is_set()
            heard.set()
        missed.clear()
        async with queue.listen(["topic"], hear, missed=missed.set):
            await queue.publish("topic", b"bad", mandatory=False)
            await asyncio.wait_for(missed.wait(), PATIENCE)


async def test_a_listener_is_not_told_for_each_message() -> None:
    """Of many messages that are dropped at once the listener is told at the first, and of all others together soon after."""
    missed: list[float] = []
    again, heard = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def miss() -> None:
        missed.append(loop.time())
        if len(missed) == 2:
            again.set()

    async def hear(_message: Message) -> None:
        await heard.wait()

    async with MemoryQueue(bounds=QueueBounds(listener=2)) as queue, queue.listen(["topic"], hear, missed=miss):
        for number in range(50):
            await queue.publish("topic", b"%d" % number, mandatory=False)
        assert len(missed) == 1
        await asyncio.wait_for(again.wait(), PATIENCE)
        heard.set()
    assert 0.09 < missed[1] - missed[0] < 1
