"""A consumer of a work queue on RabbitMQ."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.draining import finish
from meshkit.queue.pauses import Pause, jittered_pause
from meshkit.queue.port import Handler, UnroutableError
from meshkit.queue.rabbitmq_link import BROKER_ERRORS, Link, answered, describe, open_channel
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_publisher import Publisher
from meshkit.queue.rabbitmq_topology import Topology
from meshkit.queue.rabbitmq_watch import watch
from meshkit.tracing import continued

_ANSWER_SECONDS = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """What a consumer needs of the broker."""

    publisher: Publisher
    topology: Topology
    pause: Pause


@dataclass(frozen=True, slots=True)
class Work:
    """What a consumer does."""

    queue: str
    topics: Sequence[str]
    handler: Handler
    concurrency: int
    delivery_limit: int


class Consumer:
    """Handles up to `concurrency` messages of a work queue at once, each in a task of its own.

    A message is acknowledged when it is handled, or when the broker has confirmed it in a retry queue or among the dead letters. A
    crash in between gives a duplicate, never a loss.
    """

    def __init__(self, link: Link, broker: Broker, work: Work) -> None:
        self._link = link
        self._broker = broker
        self._work = work
        # What an ended channel left being handled counts as well.
        self._slots = asyncio.Semaphore(work.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._consuming: tuple[AbstractChannel, str] | None = None
        self._leaving = False

    async def run(self) -> None:
        """Consume until cancelled."""
        await self._link.keep(self._attach, self._stay)

    async def leave(self) -> None:
        """Take no more messages, and finish those that are being handled."""
        self._leaving = True
        if self._consuming:
            channel, tag = self._consuming
            with _logged("rabbitmq.not_cancelled", self._work.queue, channel):
                await channel.basic_cancel(tag, timeout=_ANSWER_SECONDS)
        await finish(self._tasks.copy(), seconds=self._broker.topology.bounds.drain_seconds)

    async def _attach(self, connection: AbstractConnection) -> AbstractChannel:
        await self._broker.topology.declare_queues(connection, self._work.queue)
        channel = await open_channel(connection)
        await self._bind(channel)
        await channel.basic_qos(prefetch_count=self._work.concurrency)
        consumed = await channel.basic_consume(self._broker.topology.queue(self._work.queue), self._take)
        self._consuming = channel, str(consumed.consumer_tag)
        return channel

    async def _stay(self, channel: AbstractChannel) -> None:
        try:
            await watch(channel, lambda: self._bind(channel))
        finally:
            self._consuming = None

    async def _bind(self, channel: AbstractChannel) -> None:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await self._broker.topology.bind_work(channel, self._work.queue, self._work.topics)

    async def _take(self, delivered: DeliveredMessage) -> None:
        # The client would cancel a task of its own together with the channel.
        if not self._leaving:
            task = asyncio.get_running_loop().create_task(self._handle(delivered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, delivered: DeliveredMessage) -> None:
        with _logged("rabbitmq.not_acknowledged", self._work.queue, delivered.channel):
            first, *others = Envelope.read(delivered).members()
            if others:
                ends = await asyncio.gather(*(self._end(delivered, member) for member in (first, *others)), return_exceptions=True)
            else:
                ends = [await self._end(delivered, first)]
            for error in ends:
                if isinstance(error, BaseException):
                    raise error
            if all(ends):
                await self._acknowledge(delivered)

    async def _end(self, delivered: DeliveredMessage, envelope: Envelope) -> bool:
        """Handle a message, or have the broker keep it elsewhere. Tell whether that was done, and need not come again."""
        async with self._slots:
            if self._leaving or delivered.channel.is_closed:
                return False  # it waited for a slot that long
            with continued(envelope.traceparent):
                error = await self._try(envelope)
                if error is not None:
                    await self._failed(delivered, envelope, error)
            return True

    async def _try(self, envelope: Envelope) -> BaseException | None:
        last = envelope.failures + 1 >= self._work.delivery_limit
        try:
            await self._work.handler(replace(envelope.message, last=True) if last else envelope.message)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            return error
        except Exception as error:  # noqa: BLE001  # whatever a handler raises decides only about its message
            return error
        return None

    async def _failed(self, delivered: DeliveredMessage, envelope: Envelope, error: BaseException) -> None:
        """Put a message into a retry queue, or among the dead letters."""
        # Outages do not count: a message that waited through one has all its tries left.
        outage = isinstance(error, UnavailableError | OverloadedError | asyncio.CancelledError)
        envelope = envelope.tried(failed=not outage)
        about = {"queue": self._work.queue, "topic": envelope.topic, "delivery": envelope.deliveries}
        if envelope.failures >= self._work.delivery_limit:
            envelope = envelope.buried(describe(error))
            _log.error("queue.dead_letter", **about, reason=envelope.reason, exc_info=error)
            await self._move(delivered, self._broker.topology.dead(self._work.queue), envelope)
            return
        _log.warning("queue.retry", **about, error=repr(error))
        pause = self._broker.pause(envelope.deliveries)
        retry = self._broker.topology.retry(self._work.queue, pause)
        await self._move(delivered, retry, envelope, expiration_ms=int(pause * 1000))

    async def _move(self, delivered: DeliveredMessage, queue: str, envelope: Envelope, *, expiration_ms: int | None = None) -> None:
        """Have the broker keep a message elsewhere, however often that takes: until then it keeps its place here."""
        tries = 0
        while True:
            try:
                await self._broker.publisher.publish("", queue, envelope, expiration_ms=expiration_ms)
            except (UnavailableError, OverloadedError, UnroutableError) as error:
                if delivered.channel.is_closed:
                    raise
                _log.warning("rabbitmq.not_moved", queue=queue, error=describe(error))
                tries += 1
                await asyncio.sleep(jittered_pause(tries))
                if isinstance(error, UnroutableError):
                    with _logged("rabbitmq.not_declared", self._work.queue, delivered.channel):
                        await self._broker.topology.declare_queues(delivered.channel.connection, self._work.queue)
            else:
                return

    async def _acknowledge(self, delivered: DeliveredMessage) -> None:
        # On a channel that has ended this fails, and the broker delivers the message again.
        await delivered.channel.basic_ack(delivered.delivery_tag or 0, wait=False)


@contextmanager
def _logged(event: str, queue: str, channel: AbstractChannel) -> Iterator[None]:
    """Note what the broker mends by delivering again."""
    try:
        with answered(channel):
            yield
    except (*BROKER_ERRORS, OverloadedError, UnroutableError) as error:
        _log.warning(event, queue=queue, error=describe(error))
