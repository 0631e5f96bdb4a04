"""The exchanges and queues that the engine needs on RabbitMQ.

Mandatory messages are published to `PREFIX.work`, which work queues are bound to, and come back if none is. Broadcasts are
published to `PREFIX.listen`, which the queues of listeners are bound to, and work queues as well. Neither exchange feeds the other:
such a binding would outlive the work queue, and what nobody handles would count as routed.

A work queue NAME has a queue `PREFIX.NAME.dead` for what was given up, and some `PREFIX.NAME.retry.MS` where messages pause. Their
own time to live bounds how long one waits behind others: the broker looks only at the head for what has expired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.common import FieldValue

from meshkit.queue.rabbitmq_link import channel_on

# Only messages that kill their consumers reach the broker's own limit: what fails otherwise is published anew with its count.
KILLS_LIMIT = 100
_NEVER = 2**31 - 1  # from RabbitMQ 4 on the limit is 20 where none is given, and looking at dead letters counts
Arguments = dict[str, FieldValue]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RabbitmqBounds:
    """What a queue keeps at most; a full one refuses. `listener` bounds what waits for a listener, which loses the oldest."""

    messages: int = 1_000_000
    bytes: int = 1_000_000_000
    listener: int = 10_000
    drain_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Topology:
    """Names and arguments. `steps` are the longest pauses in seconds of the retry queues, ascending."""

    prefix: str
    bounds: RabbitmqBounds
    steps: Sequence[float]

    @property
    def work(self) -> str:
        """Name the exchange for messages that somebody has to handle."""
        return f"{self.prefix}.work"

    @property
    def listen(self) -> str:
        """Name the exchange for broadcasts."""
        return f"{self.prefix}.listen"

    def queue(self, name: str) -> str:
        """Name a work queue."""
        return f"{self.prefix}.{name}"

    def dead(self, name: str) -> str:
        """Name the queue of a work queue's dead letters."""
        return f"{self.prefix}.{name}.dead"

    def retry(self, name: str, pause: float) -> str:
        """Name the queue where a message of a work queue pauses so many seconds."""
        step = next((step for step in self.steps if pause <= step), self.steps[-1])
        return f"{self.prefix}.{name}.retry.{step * 1000:.0f}"

    async def declare_exchanges(self, channel: AbstractChannel) -> None:
        """Declare the exchanges."""
        await channel.exchange_declare(self.work, exchange_type="direct", durable=True)
        await channel.exchange_declare(self.listen, exchange_type="direct", durable=True)

    async def declare_queues(self, connection: AbstractConnection, name: str) -> None:
        """Declare a work queue with those that belong to it. One that exists with other arguments is used as it is."""
        for queue, arguments in self._queues(name).items():
            try:
                async with channel_on(connection) as channel:
                    await channel.queue_declare(queue, durable=True, arguments=arguments)
            except aiormq.ChannelPreconditionFailed as error:
                await _check_exists(connection, queue, error)

    async def bind_work(self, channel: AbstractChannel, name: str, topics: Sequence[str]) -> None:
        """Bind a work queue to topics."""
        await self.declare_exchanges(channel)
        for topic in topics:
            await channel.queue_bind(self.queue(name), self.work, topic)
            await channel.queue_bind(self.queue(name), self.listen, topic)

    async def bind_listener(self, channel: AbstractChannel, queue: str, topics: Sequence[str]) -> None:
        """Bind a listener's queue to topics, and to its own name, so that it can be asked for."""
        await self.declare_exchanges(channel)
        for topic in (*topics, queue):
            await channel.queue_bind(queue, self.listen, topic)

    async def declare_listener(self, channel: AbstractChannel, overflow: str) -> str:
        """Make a queue for a listener, which lives as long as its consumer. What it drops goes to the queue `overflow`."""
        arguments = _dead_letters_to(overflow) | {"x-max-length": self.bounds.listener, "x-overflow": "drop-head"}
        return await _private_queue(channel, arguments)

    async def declare_overflow(self, channel: AbstractChannel) -> str:
        """Make a queue that shows that something was dropped."""
        return await _private_queue(channel, {"x-max-length": 1})

    def _queues(self, name: str) -> Mapping[str, Arguments]:
        keeping: Arguments = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-max-length": self.bounds.messages,
            "x-max-length-bytes": self.bounds.bytes,
        }
        moving: Arguments = keeping | {"x-dead-letter-strategy": "at-least-once"}
        return {
            self.dead(name): keeping | {"x-delivery-limit": _NEVER},
            self.queue(name): moving | _dead_letters_to(self.dead(name)) | {"x-delivery-limit": KILLS_LIMIT},
        } | {
            self.retry(name, step): moving | _dead_letters_to(self.queue(name)) | {"x-message-ttl": int(step * 1000)}
            for step in self.steps
        }


def _dead_letters_to(queue: str) -> Arguments:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}


async def _private_queue(channel: AbstractChannel, arguments: Arguments) -> str:
    # Named, because the broker may be set to another type, which knows no private queues.
    arguments |= {"x-queue-type": "classic"}
    declared = await channel.queue_declare(exclusive=True, auto_delete=True, arguments=arguments)
    return str(declared.queue)


async def _check_exists(connection: AbstractConnection, queue: str, refusal: aiormq.ChannelPreconditionFailed) -> None:
    """Raise the refusal of a queue, unless it is there. The broker refuses with the same code what it does not know."""
    try:
        async with channel_on(connection) as channel:
            await channel.queue_declare(queue, passive=True)
    except aiormq.ChannelNotFoundEntity:
        raise refusal from None
    _log.warning("rabbitmq.queue_differs", queue=queue, hint="delete it when it is empty", error=str(refusal))
