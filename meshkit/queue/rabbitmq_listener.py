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
# A deletion that is answered holds within a second, also where a listener was cut off just before it.
_PULSE_SECONDS = 0.4
_SILENT_SECONDS = 0.9


class Hearing:
    """Binds a queue anew whenever the last one ended, and tells the listener when it may miss messages.

    Whether messages come through is known by those that it sends to itself: when one is heard, so was everything that the broker
    had confirmed before it was sent. A broker that stands still, or cannot be reached, would be found out after many seconds only.
    """

    def __init__(self, link: Link, publisher: Publisher, topology: Topology, topics: Sequence[str], listener: Listener) -> None:
        self._link = link
        self._publisher = publisher
        self._topology = topology
        self._topics = topics
        self._listener = listener
        self._queue = ""
        self._hears = asyncio.Event()
        self._heard_until = 0.0  # what was confirmed before this moment of the loop's clock was heard

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._link.keep(self._attach, self._stay)

    async def remind(self) -> NoReturn:
        """Tell the listener at least once a second that messages may go by, as long as none comes through, and once more then."""
        while True:
            await self._silence()
            while self._deaf():
                self._listener.miss()
                self._hears.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hears.wait(), _SILENT_SECONDS)
            self._listener.miss()

    def _deaf(self) -> bool:
        return not self._link.attached.is_set() or asyncio.get_running_loop().time() >= self._heard_until + _SILENT_SECONDS

    async def _silence(self) -> None:
        """Wait until nothing came through for too long, or the connection has ended."""
        while not self._deaf():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._heard_until + _SILENT_SECONDS):
                    await self._link.detached.wait()

    def _hear(self, until: float) -> None:
        self._heard_until = until
        self._hears.set()

    async def _attach(self, connection: AbstractConnection) -> AbstractChannel:
        channel = await open_channel(connection)
        overflow = await self._topology.declare_overflow(channel)
        self._queue = await self._topology.declare_listener(channel, overflow)
        await self._topology.bind_listener(channel, self._queue, self._topics)
        await channel.basic_qos(prefetch_count=_UNACKNOWLEDGED)
        await channel.basic_consume(overflow, self._dropped, no_ack=True)
        await channel.basic_consume(self._queue, self._heard)
        self._hear(asyncio.get_running_loop().time())
        return channel

    async def _stay(self, channel: AbstractChannel) -> None:
        await self._pulse(channel)
        await watch(channel, lambda: self._pulse(channel), every_seconds=_PULSE_SECONDS)

    async def _pulse(self, channel: AbstractChannel) -> None:
        """Send a message to oneself: were the exchange gone, or there again without its bindings, nobody would tell."""
        now = asyncio.get_running_loop().time()
        try:
            await self._publisher.publish(self._topology.listen, self._queue, Envelope(self._queue, b"%r" % now))
        except UnroutableError as error:
            if channel.is_closed:
                await channel.closing  # raises why, and the queue went with it
            raise aiormq.ChannelClosed(0, "the bindings were deleted") from error
        except (UnavailableError, OverloadedError):
            pass  # it does not come back, and the listener is told

    async def _heard(self, delivered: DeliveredMessage) -> None:
        envelope = Envelope.read(delivered)
        if envelope.topic == self._queue:
            self._hear(float(envelope.body))
        else:
            self._listener.offer(envelope.message, envelope.traceparent)
        with suppress(*BROKER_ERRORS):  # the queue ended with its channel
            await delivered.channel.basic_ack(delivered.delivery_tag or 0, wait=False)

    async def _dropped(self, _delivered: DeliveredMessage) -> None:
        self._listener.miss()
