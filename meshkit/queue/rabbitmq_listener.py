"""A listener on RabbitMQ: a bounded queue of its own that ends with it, drained at once into a bounded buffer."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.listener import Listener
from meshkit.queue.port import UnroutableError
from meshkit.queue.rabbitmq_link import BROKER_ERRORS, Link, open_channel
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_publisher import Publisher
from meshkit.queue.rabbitmq_topology import Topology
from meshkit.queue.rabbitmq_watch import watch

# Not without acknowledgements: the broker would take what the connection does not for delivered, and bound nothing.
_UNACKNOWLEDGED = 1_000
_REMIND_SECONDS = 1.0


class Hearing:
    """Binds a queue anew whenever the last one ended, and tells the listener that it may miss messages meanwhile."""

    def __init__(self, link: Link, publisher: Publisher, topology: Topology, topics: Sequence[str], listener: Listener) -> None:
        self._link = link
        self._publisher = publisher
        self._topology = topology
        self._topics = topics
        self._listener = listener
        self._queue = ""

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._link.keep(self._attach, lambda channel: watch(channel, self._check))

    async def remind(self) -> NoReturn:
        """Tell the listener once a second that messages go by, as long as it is not attached, and once when it is again."""
        while True:
            await self._link.detached.wait()
            while not self._link.attached.is_set():
                self._listener.miss()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._link.attached.wait(), _REMIND_SECONDS)
            self._listener.miss()

    async def _attach(self, connection: AbstractConnection) -> AbstractChannel:
        channel = await open_channel(connection)
        overflow = await self._topology.declare_overflow(channel)
        self._queue = await self._topology.declare_listener(channel, overflow)
        await self._topology.bind_listener(channel, self._queue, self._topics)
        await channel.basic_qos(prefetch_count=_UNACKNOWLEDGED)
        await channel.basic_consume(overflow, self._dropped, no_ack=True)
        await channel.basic_consume(self._queue, self._heard)
        return channel

    async def _check(self) -> None:
        """Send a message to oneself: were the exchange gone, or there again without its bindings, nobody would tell."""
        try:
            await self._publisher.publish(self._topology.listen, self._queue, Envelope(self._queue, b""))
        except UnroutableError as error:
            raise aiormq.ChannelClosed(0, "the bindings were deleted") from error
        except (UnavailableError, OverloadedError):
            pass  # the broker takes no broadcasts either that could be missed

    async def _heard(self, delivered: DeliveredMessage) -> None:
        envelope = Envelope.read(delivered)
        self._listener.offer(envelope.message, envelope.traceparent)
        with suppress(*BROKER_ERRORS):  # the queue ended with its channel
            await delivered.channel.basic_ack(delivered.delivery_tag or 0, wait=False)

    async def _dropped(self, _delivered: DeliveredMessage) -> None:
        self._listener.miss()
