"""The broker for more than one process: RabbitMQ, which keeps what it confirmed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from meshkit.lifecycle import background
from meshkit.queue.pauses import MAX_PAUSE, Pause, jittered_pause
from meshkit.queue.port import DEFAULT_DELIVERY_LIMIT, MAX_BODY_BYTES, DeadLetter, Handler, Queue
from meshkit.queue.rabbitmq_dead import redriven, shown
from meshkit.queue.rabbitmq_link import Link
from meshkit.queue.rabbitmq_listener import Hearing
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_publisher import Publisher
from meshkit.queue.rabbitmq_topology import RabbitmqBounds, Topology
from meshkit.queue.rabbitmq_work import Broker, Consumer, Work
from meshkit.tracing import traceparent

_RETRY_STEPS = (0.1, 0.5, 2.5, MAX_PAUSE)


@asynccontextmanager
async def open_rabbitmq(
    url: str,
    *,
    prefix: str = "feedmesh",
    bounds: RabbitmqBounds | None = None,
    pause: Pause = jittered_pause,
    publish_seconds: float = 5.0,
) -> AsyncIterator[Queue]:
    """Open a broker for the length of a block: `amqp://user:password@host:port/vhost`, or `amqps://`.

    It need not be there: whatever needs it is attached when it comes, and again when it was away. `prefix` begins the names of all
    exchanges and queues. A message that is not confirmed in `publish_seconds` counts as not published.
    """
    topology = Topology(prefix, bounds or RabbitmqBounds(), _RETRY_STEPS)
    # Apart: a broker that is short of memory or disk stops reading what publishers send, but not acknowledgements.
    publishing, consuming = Link(url, f"{prefix} publisher"), Link(url, f"{prefix} consumer")
    publisher = Publisher(publishing, topology, deadline=publish_seconds)
    async with background(publishing.run(), consuming.run(), publisher.run()):
        await publishing.settled(publisher.began)
        try:
            yield RabbitmqQueue(Broker(consuming, publisher, topology, pause))
        finally:
            await publisher.drain()


class RabbitmqQueue:
    """A `meshkit.queue.port.Queue` on RabbitMQ."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True) -> None:
        """Give a message to the topic's work queues and listeners; a mandatory one is on the broker's disk when this returns."""
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"a message has at most {MAX_BODY_BYTES} bytes, not {len(body)}")
        envelope = Envelope(topic, body, traceparent())
        if mandatory:
            await self._broker.publisher.publish(self._broker.topology.work, topic, envelope)
        else:
            self._broker.publisher.broadcast(topic, envelope)
            # It begins now, and so stands before whatever is published next.
            await asyncio.sleep(0)

    @asynccontextmanager
    async def work(
        self,
        queue: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        concurrency: int,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> AsyncIterator[None]:
        """Consume a work queue, from when the broker is there. It stays bound to all the topics that any consumer named."""
        if concurrency < 1 or delivery_limit < 1:
            raise ValueError("concurrency and delivery limit are 1 or more")
        consumer = Consumer(self._broker, Work(queue, topics, handler, concurrency, delivery_limit))
        async with background(consumer.run()):
            await self._broker.link.settled(consumer.began)
            try:
                yield
            finally:
                await consumer.leave()

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], handler: Handler, *, missed: Callable[[], None]) -> AsyncIterator[None]:
        """Hand the topics' messages to the handler, one after the other. One that falls too far behind loses the oldest."""
        hearing = Hearing(self._broker.link, self._broker.topology, topics, handler, missed)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(hearing.leave)
            await stack.enter_async_context(background(hearing.run()))
            hearing.late = not await self._broker.link.settled(hearing.began)
            yield

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """Show the oldest dead letters of a work queue."""
        return await shown(self._broker.link, self._broker.topology.dead(queue), limit)

    async def redrive(self, queue: str) -> int:
        """Put dead letters back, as many as there is room for, and count their deliveries anew."""
        return await redriven(self._broker.link, self._broker.publisher, self._broker.topology, queue)
