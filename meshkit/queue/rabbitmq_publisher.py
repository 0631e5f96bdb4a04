"""Publishing to RabbitMQ: on one channel for everything, so that a publisher's messages stay in order, and with confirms."""

import asyncio
from functools import partial

import aiormq
import structlog
from aiormq import spec
from aiormq.abc import AbstractChannel

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.draining import finish
from meshkit.queue.port import UnroutableError
from meshkit.queue.rabbitmq_link import BROKER_ERRORS, Link, answered, describe
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_topology import Topology

_REOPEN_SECONDS = 1.0
_MAX_BROADCASTS = 1_000
_log = structlog.get_logger(__name__)


class Publisher:
    """Any number of messages are under way at once on its channel. `deadline` is in seconds, from publish to confirm."""

    def __init__(self, link: Link, topology: Topology, *, deadline: float) -> None:
        self.began = asyncio.Event()
        self._link = link
        self._topology = topology
        self._deadline = deadline
        self._channel: AbstractChannel | None = None
        self._broadcasts: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a channel open until cancelled."""
        await self._link.keep(self._session, confirms=True)

    async def publish(self, exchange: str, key: str, envelope: Envelope, *, expiration_ms: int | None = None) -> None:
        """Publish, and wait for the confirm.

        Raises:
            UnroutableError: no queue takes it.
            OverloadedError: a queue that should take it is full.
            UnavailableError: the broker is away, which is told within a second, or did not confirm before the deadline.

        """
        send = partial(self._send, exchange, key, envelope, expiration_ms)
        try:
            async with asyncio.timeout(self._deadline):
                try:
                    await send()
                except aiormq.AMQPChannelError:
                    # Perhaps the exchange was deleted. The next channel begins with declaring it.
                    await send()
        except BROKER_ERRORS as error:
            raise _unavailable(error) from error

    def broadcast(self, topic: str, envelope: Envelope) -> None:
        """Publish without waiting, and without a promise for what is under way when the broker goes.

        Raises:
            UnavailableError: the broker is known to be away.
            OverloadedError: too many broadcasts are under way.

        """
        if self._channel is None:
            raise UnavailableError("RabbitMQ is away; try again", reason="QUEUE_UNAVAILABLE")
        if len(self._broadcasts) >= _MAX_BROADCASTS:
            raise OverloadedError("too many broadcasts are under way; try again later", reason="QUEUE_FULL")
        task = asyncio.get_running_loop().create_task(self._broadcast(self._channel, topic, envelope))
        self._broadcasts.add(task)
        task.add_done_callback(self._broadcasts.discard)

    async def drain(self) -> None:
        """Give broadcasts that are under way a second to end."""
        await finish(self._broadcasts.copy(), seconds=_REOPEN_SECONDS)

    async def _session(self, channel: AbstractChannel) -> None:
        await self._topology.declare_exchanges(channel)
        self._channel = channel
        self.began.set()
        try:
            await channel.closing
        finally:
            self._forget()

    async def _send(self, exchange: str, key: str, envelope: Envelope, expiration_ms: int | None) -> None:
        channel = await self._open_channel()
        properties = envelope.properties(expiration_ms=expiration_ms)
        try:
            with answered():
                result = await channel.basic_publish(
                    envelope.body, exchange=exchange, routing_key=key, properties=properties, mandatory=True
                )
        except aiormq.DeliveryError as error:
            raise OverloadedError(f"a queue for {envelope.topic} is full; try again later", reason="QUEUE_FULL") from error
        if not isinstance(result, spec.Basic.Ack):
            raise UnroutableError(f"no queue takes {envelope.topic}")

    async def _open_channel(self) -> AbstractChannel:
        """Give the channel, or wait for one that may be about to open again, which is soon or not for long."""
        if self._channel is not None and self._channel.is_closed:
            self._forget()
        if self._channel is None:
            async with asyncio.timeout(_REOPEN_SECONDS):
                await self._link.settled(self.began)
        if self._channel is None:
            raise UnavailableError("RabbitMQ is away; try again", reason="QUEUE_UNAVAILABLE")
        return self._channel

    def _forget(self) -> None:
        self.began.clear()
        self._channel = None

    async def _broadcast(self, channel: AbstractChannel, topic: str, envelope: Envelope) -> None:
        try:
            with answered():
                await channel.basic_publish(
                    envelope.body,
                    exchange=self._topology.broadcast,
                    routing_key=topic,
                    properties=envelope.properties(),
                    timeout=self._deadline,
                )
        except BROKER_ERRORS as error:
            _log.debug("rabbitmq.broadcast_lost", topic=topic, error=describe(error))


def _unavailable(error: Exception) -> UnavailableError:
    if isinstance(error, UnavailableError):
        return error
    if isinstance(error, TimeoutError):
        return UnavailableError("RabbitMQ did not confirm in time; try again", reason="QUEUE_UNAVAILABLE")
    return UnavailableError("RabbitMQ went away; try again", reason="QUEUE_UNAVAILABLE")
