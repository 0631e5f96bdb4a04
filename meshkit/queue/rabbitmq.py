"""The broker for more than one process: RabbitMQ, which keeps what it confirmed."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from meshkit.lifecycle import background
from meshkit.queue.listener import Listener
from meshkit.queue.pauses import MAX_PAUSE, Pause, jittered_pause
from meshkit.queue.port import DEFAULT_DELIVERY_LIMIT, MAX_BODY_BYTES, DeadLetter, Handler, Queue
from meshkit.queue.rabbitmq_dead import redriven, shown
from meshkit.queue.rabbitmq_link import Link
from meshkit.queue.rabbitmq_listener import Hearing
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_packs import Packs
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
    # Apart from consumers: of a connection that publishes a broker short of memory or disk reads nothing, acknowledgements neither.
    link = Link(url, f"{prefix} publisher")
    publisher = Publisher(link, topology, deadline=publish_seconds)

    async def publish_work(envelope: Envelope) -> None:
        await publisher.publish(topology.work, envelope.topic, envelope)

    async with background(publisher.run()), Packs(publish_work) as packs:
        await link.settled()
        yield RabbitmqQueue(url, Broker(publisher, topology, pause), packs)


class RabbitmqQueue:
    """A `meshkit.queue.port.Queue` on RabbitMQ."""

    def __init__(self, url: str, broker: Broker, packs: Packs) -> None:
        self._url = url
        self._broker = broker
        self._packs = packs

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True, together: bool = False) -> None:
        """Give a message to the topic's work queues, and a broadcast to its listeners too; the broker has it when this returns."""
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"a message has at most {MAX_BODY_BYTES} bytes, not {len(body)}")
        envelope = Envelope(topic, body, traceparent())
        if together and mandatory:
            await self._packs.publish(envelope)
        else:
            exchange = self._broker.topology.work if mandatory else self._broker.topology.listen
            await self._broker.publisher.publish(exchange, topic, envelope, mandatory=mandatory)

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
        link = self._link(queue)
        consumer = Consumer(link, self._broker, Work(queue, topics, handler, concurrency, delivery_limit))
        async with background(consumer.run()):
            await link.settled()
            try:
                yield
            finally:
                await consumer.leave()

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], handler: Handler, *, missed: Callable[[], None]) -> AsyncIterator[None]:
        """Hand the topics' messages to the handler, one after the other. One that falls too far behind loses the oldest."""
        topology, link = self._broker.topology, self._link("listener")
        listener = Listener(frozenset(topics), handler, missed, topology.bounds.listener)
        hearing = Hearing(link, self._broker.publisher, topology, topics, listener)
        async with listener.handing_on(drain_seconds=topology.bounds.drain_seconds), background(hearing.run()):
            await link.settled()
            async with background(hearing.remind()):
                yield

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """Show the oldest dead letters of a work queue."""
        return await shown(self._link("operator"), self._broker.topology.dead(queue), limit)

    async def redrive(self, queue: str) -> int:
        """Put dead letters back, as many as there is room for, and count their deliveries anew."""
        return await redriven(self._link("operator"), self._broker.publisher, self._broker.topology, queue)

    def _link(self, user: str) -> Link:
        return Link(self._url, f"{self._broker.topology.prefix} {user}")
