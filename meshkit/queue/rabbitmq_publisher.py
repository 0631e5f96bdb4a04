"""Publishing to RabbitMQ: on one channel for everything, so that a publisher's messages stay in order, and with confirms."""

import asyncio
from contextlib import suppress
from functools import partial

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, AbstractConnection

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import UnroutableError
from meshkit.queue.rabbitmq_link import BROKER_ERRORS, Link, answered, open_channel
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_topology import Topology

_REOPEN_SECONDS = 1.0


class Publisher:
    """Any number of messages are under way at once on its channel. `deadline` is in seconds, from publish to confirm."""

    def __init__(self, link: Link, topology: Topology, *, deadline: float) -> None:
        self._link = link
        self._topology = topology
        self._deadline = deadline
        self._channel: AbstractChannel | None = None

    async def run(self) -> None:
        """Keep a channel open until cancelled."""
        await self._link.keep(self._attach, self._stay)

    async def publish(
        self, exchange: str, key: str, envelope: Envelope, *, mandatory: bool = True, expiration_ms: int | None = None
    ) -> None:
        """Publish, and wait for the confirm.

        Raises:
            UnroutableError: mandatory, and no queue takes it.
            OverloadedError: a queue that should take it is full.
            UnavailableError: the broker is away, which is told within a second, or did not confirm before the deadline.

        """
        properties = envelope.properties(expiration_ms=expiration_ms)
        send = partial(self._send, envelope.body, exchange=exchange, routing_key=key, properties=properties, mandatory=mandatory)
        try:
            async with asyncio.timeout(self._deadline):
                try:
                    result = await send()
                except aiormq.AMQPChannelError:
                    # Perhaps the exchange was deleted. The next channel begins with declaring it.
                    result = await send()
        except aiormq.DeliveryError as error:
            raise OverloadedError(f"a queue for {envelope.topic} is full; try again later", reason="QUEUE_FULL") from error
        except BROKER_ERRORS as error:
            raise _unavailable(error) from error
        if not isinstance(result, spec.Basic.Ack):
            raise UnroutableError(f"no queue takes {envelope.topic}")

    async def _attach(self, connection: AbstractConnection) -> AbstractChannel:
        self._channel = await open_channel(connection, confirms=True)
        await self._topology.declare_exchanges(self._channel)
        return self._channel

    async def _stay(self, channel: AbstractChannel) -> None:
        await channel.closing

    async def _send(
        self, body: bytes, *, exchange: str, routing_key: str, properties: spec.Basic.Properties, mandatory: bool
    ) -> object:
        channel = await self._open_channel()
        with answered(channel):
            # A broker that is short of memory or disk reads nothing more, but what lies in the sockets it takes later: every try
            # would leave a copy there.
            await channel.connection.ready()
            return await channel.basic_publish(
                body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=mandatory
            )

    async def _open_channel(self) -> AbstractChannel:
        """Give the channel, or wait for one that may be about to open again, which is soon or not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REOPEN_SECONDS):
                if self._channel is not None and self._channel.is_closed:
                    await self._link.detached.wait()
                await self._link.settled()
        if self._channel is None or not self._link.attached.is_set():
            raise UnavailableError("RabbitMQ is away; try again", reason="QUEUE_UNAVAILABLE")
        return self._channel


def _unavailable(error: Exception) -> UnavailableError:
    if isinstance(error, UnavailableError):
        return error
    if isinstance(error, TimeoutError):
        return UnavailableError("RabbitMQ did not confirm in time; try again", reason="QUEUE_UNAVAILABLE")
    return UnavailableError("RabbitMQ went away; try again", reason="QUEUE_UNAVAILABLE")
