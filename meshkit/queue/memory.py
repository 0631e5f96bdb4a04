"""The embedded broker: queues in this process's memory. It keeps nothing, so whoever publishes waits until the message is handled.

It belongs to one event loop. Messages are safe with their senders: an outbox publishes again what was not handled.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.listener import Listener
from meshkit.queue.memory_work import Consumer, Delivery, QueueBounds, WorkQueue
from meshkit.queue.pauses import Pause, jittered_pause
from meshkit.queue.port import DEFAULT_DELIVERY_LIMIT, MAX_BODY_BYTES, DeadLetter, Handler, Message, UnroutableError
from meshkit.tracing import traceparent


class MemoryQueue:
    """A `meshkit.queue.port.Queue` in memory; close it, or use it as a context.

    `pause` gives the seconds before a message's next delivery from the number of its deliveries so far.
    """

    def __init__(self, *, bounds: QueueBounds | None = None, pause: Pause = jittered_pause) -> None:
        self._bounds = bounds or QueueBounds()
        self._pause = pause
        self._queues: dict[str, WorkQueue] = {}
        self._listeners: list[Listener] = []
        self._open = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take and deliver nothing any more; whoever waits in `publish` gets `UnavailableError`."""
        self._open = False
        for queue in self._queues.values():
            queue.close()
        for listener in self._listeners:
            listener.stop()

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True, together: bool = False) -> None:  # noqa: ARG002  # there is no way to go
        """Give a message to the topic's work queues, and wait until it is handled; listeners get broadcasts without a wait.

        What is refused reaches nobody. A caller that is cancelled takes nothing back.
        """
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"a message has at most {MAX_BODY_BYTES} bytes, not {len(body)}")
        self._check_open()
        queues = [queue for queue in self._queues.values() if topic in queue.topics]
        if mandatory and not queues:
            raise UnroutableError(f"no work queue is bound to {topic}")
        _check_all_take(len(body), queues)
        if mandatory:
            await _handled_by_all(topic, body, queues)
        else:
            await self._broadcast(topic, body, queues)

    @contextlib.asynccontextmanager
    async def work(
        self,
        queue: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        concurrency: int,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> AsyncIterator[None]:
        """Consume a work queue. It is made with its first consumer, and stays bound to all the topics that any consumer named."""
        if concurrency < 1 or delivery_limit < 1:
            raise ValueError("concurrency and delivery limit are 1 or more")
        self._check_open()
        work_queue = self._queues.setdefault(queue, WorkQueue(queue, self._bounds, self._pause))
        work_queue.topics.update(topics)
        consumer = Consumer(work_queue, handler, concurrency=concurrency, delivery_limit=delivery_limit)
        work_queue.join(consumer)
        try:
            yield
        finally:
            await work_queue.leave(consumer)

    @contextlib.asynccontextmanager
    async def listen(self, topics: Sequence[str], handler: Handler, *, missed: Callable[[], None]) -> AsyncIterator[None]:
        """Hand the topics' messages to the handler, one after the other. One that falls too far behind loses the oldest."""
        self._check_open()
        listener = Listener(frozenset(topics), handler, missed, self._bounds.listener)
        async with listener.handing_on(drain_seconds=self._bounds.drain_seconds):
            self._listeners.append(listener)
            try:
                yield
            finally:
                self._listeners.remove(listener)

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """Show the oldest dead letters of a work queue. One that nobody declared has none."""
        known = self._queues.get(queue)
        return list(known.dead)[:limit] if known else []

    async def redrive(self, queue: str) -> int:
        """Put dead letters back, as many as there is room for, and count their deliveries anew. Nobody waits for them any more."""
        self._check_open()
        known = self._queues.get(queue)
        return known.redrive() if known else 0

    async def _broadcast(self, topic: str, body: bytes, queues: Sequence[WorkQueue]) -> None:
        for listener in tuple(self._listeners):
            listener.offer(Message(topic, body), traceparent())
        for queue in queues:
            queue.put(Delivery(topic, body, traceparent=traceparent()))
        # A publisher that never pauses would not let the listeners run.
        await asyncio.sleep(0)

    def _check_open(self) -> None:
        if not self._open:
            raise UnavailableError("the queue is closed", reason="QUEUE_CLOSED")


def _check_all_take(size: int, queues: Sequence[WorkQueue]) -> None:
    for queue in queues:
        if not queue.has_room(size):
            raise OverloadedError(f"the queue {queue.name} is full; try again later", reason="QUEUE_FULL")


async def _handled_by_all(topic: str, body: bytes, queues: Sequence[WorkQueue]) -> None:
    loop = asyncio.get_running_loop()
    handled = [loop.create_future() for _ in queues]
    for queue, future in zip(queues, handled, strict=True):
        queue.put(Delivery(topic, body, future, traceparent()))
    # One queue's failure is told only when the others have ended as well: then nothing is left in the air.
    for outcome in await asyncio.gather(*handled, return_exceptions=True):
        if outcome is not None:
            raise outcome
