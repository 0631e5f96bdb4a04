"""A listener on RabbitMQ: a bounded queue of its own that ends with it, drained at once into a bounded buffer."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiormq.abc import AbstractChannel, DeliveredMessage

from meshkit.queue.draining import finish
from meshkit.queue.listener import Listener
from meshkit.queue.port import Handler
from meshkit.queue.rabbitmq_link import BROKER_ERRORS, Link
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_topology import Topology
from meshkit.queue.rabbitmq_watch import watch

# Not without acknowledgements: the broker would take what the connection does not for delivered, and bound nothing.
_UNACKNOWLEDGED = 1_000
_ACKNOWLEDGED_TOGETHER = 100


class Hearing:
    """Binds a queue anew whenever the last one ended, and says that messages may have been missed meanwhile."""

    def __init__(self, link: Link, topology: Topology, topics: Sequence[str], handler: Handler, missed: Callable[[], None]) -> None:
        self.began = asyncio.Event()
        self.late = False  # whoever listens does so already, the broker does not know it yet
        self._link = link
        self._topology = topology
        self._topics = topics
        self._missed = missed
        self._listener = Listener(frozenset(topics), handler, missed, topology.bounds.listener)
        self._handing_on = asyncio.get_running_loop().create_task(self._listener.run())

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._link.keep(self._session)

    async def leave(self) -> None:
        """End after the message that is being handled."""
        self._listener.stop()
        await finish((self._handing_on,), seconds=self._topology.bounds.drain_seconds)

    async def _session(self, channel: AbstractChannel) -> None:
        overflow = await self._topology.declare_overflow(channel)
        queue = await self._topology.declare_listener(channel, overflow)
        await self._topology.bind_listener(channel, queue, self._topics)
        await channel.basic_qos(prefetch_count=_UNACKNOWLEDGED)
        await channel.basic_consume(overflow, self._dropped, no_ack=True)
        await channel.basic_consume(queue, self._heard)
        if self.late or self.began.is_set():
            self._missed()
        self.began.set()
        await watch(channel, lambda: self._topology.bind_listener(channel, queue, self._topics))

    async def _heard(self, delivered: DeliveredMessage) -> None:
        envelope = Envelope.read(delivered)
        self._listener.offer(envelope.message, envelope.traceparent)
        tag = delivered.delivery_tag or 0
        if tag % _ACKNOWLEDGED_TOGETHER == 0:
            with suppress(*BROKER_ERRORS):  # the queue ended with its channel
                await delivered.channel.basic_ack(tag, multiple=True, wait=False)

    async def _dropped(self, _delivered: DeliveredMessage) -> None:
        self._missed()
