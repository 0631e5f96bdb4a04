"""One work queue of the embedded broker, and its consumers."""

import asyncio
from collections import deque
from dataclasses import dataclass
from functools import partial

import structlog

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.draining import finish
from meshkit.queue.pauses import Pause
from meshkit.queue.port import DeadLetter, DeadLetteredError, Handler, Message
from meshkit.tracing import continued


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """What is kept in memory at most: a work queue's messages, their bytes, its dead letters; messages that wait for a listener.

    `drain_seconds` bounds how long a consumer that leaves may take to finish what it handles.
    """

    messages: int = 10_000
    bytes: int = 64_000_000
    dead_letters: int = 1_000
    listener: int = 1_000
    drain_seconds: float = 10.0


@dataclass(slots=True, eq=False)
class Delivery:
    """A message's way through one work queue. `handled` is what its publisher waits for, if there is one."""

    topic: str
    body: bytes
    handled: asyncio.Future[None] | None = None
    traceparent: str = ""
    deliveries: int = 0
    failures: int = 0
    redriven: bool = False

    def settle(self, error: Exception | None = None) -> None:
        """Tell the publisher how it ended, unless it has stopped waiting."""
        if self.handled is None or self.handled.done():
            return
        if error is None:
            self.handled.set_result(None)
        else:
            self.handled.set_exception(error)


class WorkQueue:
    """Holds messages until they are handled or given up: ready, being handled, or pausing before their next delivery."""

    def __init__(self, name: str, bounds: QueueBounds, pause: Pause) -> None:
        self.name = name
        self.topics: set[str] = set()
        self.dead: deque[DeadLetter] = deque()
        self._bounds = bounds
        self._pause = pause
        self._held: set[Delivery] = set()
        self._held_bytes = 0
        self._ready: deque[Delivery] = deque()
        self._consumers: list[Consumer] = []
        self._open = True

    def has_room(self, size: int) -> bool:
        """Tell whether a message of this many bytes would be taken."""
        return len(self._held) < self._bounds.messages and self._held_bytes + size <= self._bounds.bytes

    def put(self, delivery: Delivery) -> None:
        """Take a message. Whoever calls has asked whether there is room."""
        self._held.add(delivery)
        self._held_bytes += len(delivery.body)
        self._ready.append(delivery)
        self.pump()

    def join(self, consumer: "Consumer") -> None:
        """Begin to hand messages to a consumer."""
        self._consumers.append(consumer)
        self.pump()

    async def leave(self, consumer: "Consumer") -> None:
        """Hand a consumer no more messages, and wait until it has finished those it has."""
        self._consumers.remove(consumer)
        await finish(consumer.tasks.copy(), seconds=self._bounds.drain_seconds)

    def pump(self) -> None:
        """Hand out what is ready, to the consumer that can take most, as long as one can take any."""
        while self._ready and self._consumers:
            consumer = max(self._consumers, key=lambda each: each.free)
            if consumer.free <= 0:
                return
            consumer.start(self._ready.popleft())

    def done(self, delivery: Delivery, error: Exception | None = None) -> None:
        """Let go of a message for good."""
        self._held.discard(delivery)
        self._held_bytes -= len(delivery.body)
        delivery.settle(error)

    def retry(self, delivery: Delivery) -> None:
        """Deliver a message again after a pause. It does not hold up others meanwhile."""
        if self._open:
            pause = self._pause(delivery.deliveries)
            asyncio.get_running_loop().call_later(pause, self._make_ready, delivery)

    def bury(self, delivery: Delivery, error: Exception) -> None:
        """Give a message up, and tell its publisher so."""
        reason = f"{type(error).__name__}: {error}"
        structlog.get_logger().error("queue.dead_letter", queue=self.name, topic=delivery.topic, reason=reason, exc_info=error)
        letter = DeadLetter(delivery.topic, delivery.body, reason)
        if any((dead.topic, dead.body) == (letter.topic, letter.body) for dead in self.dead):
            self.done(delivery, _given_up(self.name, reason))  # it was sent again, and given up again
            return
        if len(self.dead) >= self._bounds.dead_letters:
            lost = self.dead.popleft()
            structlog.get_logger().error("queue.dead_letter_lost", queue=self.name, topic=lost.topic, reason=lost.reason)
        self.dead.append(letter)
        self.done(delivery, _given_up(self.name, reason))

    def redrive(self) -> int:
        """Take back the oldest dead letters as new messages while there is room; give their number."""
        moved = 0
        for letter in tuple(self.dead):
            if not self.has_room(len(letter.body)):
                break
            self.dead.popleft()
            self.put(Delivery(letter.topic, letter.body, redriven=True))
            moved += 1
        return moved

    def close(self) -> None:
        """Hand out nothing more, and tell every publisher that waits."""
        self._open = False
        self._ready.clear()
        for delivery in self._held:
            delivery.settle(UnavailableError("the queue closed before the message was handled", reason="QUEUE_CLOSED"))

    def _make_ready(self, delivery: Delivery) -> None:
        if self._open:
            self._ready.append(delivery)
            self.pump()


def _given_up(queue: str, reason: str) -> DeadLetteredError:
    return DeadLetteredError(f"{queue} gave the message up: {reason}")


class Consumer:
    """Handles up to `concurrency` messages of a work queue at once, each in a task of its own."""

    def __init__(self, queue: WorkQueue, handler: Handler, *, concurrency: int, delivery_limit: int) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._queue = queue
        self._handler = handler
        self._concurrency = concurrency
        self._delivery_limit = delivery_limit

    @property
    def free(self) -> int:
        """How many more messages it can take."""
        return self._concurrency - len(self.tasks)

    def start(self, delivery: Delivery) -> None:
        """Begin to handle a message."""
        task = asyncio.get_running_loop().create_task(self._handle(delivery))
        self.tasks.add(task)
        task.add_done_callback(partial(self._ended, delivery))

    async def _handle(self, delivery: Delivery) -> None:
        delivery.deliveries += 1
        try:
            with continued(delivery.traceparent):
                await self._handler(Message(delivery.topic, delivery.body, delivery.deliveries, delivery.redriven))
        except (UnavailableError, OverloadedError) as error:
            self._log(delivery, error)
            self._queue.retry(delivery)
        except Exception as error:  # noqa: BLE001  # whatever a handler raises decides only about its message
            self._failed(delivery, error)
        else:
            self._queue.done(delivery)

    def _failed(self, delivery: Delivery, error: Exception) -> None:
        # Outages do not count: a message that waited through one has all its tries left.
        delivery.failures += 1
        if delivery.failures >= self._delivery_limit:
            self._queue.bury(delivery, error)
            return
        self._log(delivery, error)
        self._queue.retry(delivery)

    def _ended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if task.cancelled():  # perhaps before it began, so that only this callback can know
            self._queue.retry(delivery)
        self._queue.pump()

    def _log(self, delivery: Delivery, error: Exception) -> None:
        structlog.get_logger().warning(
            "queue.retry", queue=self._queue.name, topic=delivery.topic, delivery=delivery.deliveries, error=repr(error)
        )
