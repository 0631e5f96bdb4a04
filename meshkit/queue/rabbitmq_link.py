"""A connection to RabbitMQ that is opened again whenever it ends, and what its one user does on a fresh one.

aio-pika's own robust connection restores every channel, queue and consumer by itself, but tells nobody: a listener would not learn
that it missed something, a publisher would wait instead of failing, and a deleted queue would stay deleted. Here whoever uses a
connection says what to do on a fresh one, and does it again on the next. So the protocol layer below aio-pika is all that is used.

Each user has a connection of its own: a message that the client cannot decode ends the one that it came on, and no other.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelInvalidStateError

from meshkit.errors import UnavailableError

# What the client raises when the broker is away, goes away, refuses, or does not answer in time.
BROKER_ERRORS = (aiormq.AMQPError, ConnectionError, TimeoutError, ChannelInvalidStateError, UnavailableError)
_NOT_ALLOWED = 530
_OLDEST = (3, 10)
_HEARTBEAT_SECONDS = "10"
_ANSWER_SECONDS = 5.0
_ATTACH_SECONDS = 10.0
_SETTLE_SECONDS = 5.0
_FIRST_PAUSE = 0.05
_MAX_PAUSE = 2.0
_log = structlog.get_logger(__name__)


class Link:
    """Keeps one connection in use. `name` is what the broker's own tools show."""

    def __init__(self, url: str, name: str) -> None:
        # Whoever is attached is not detached; both are events because both are waited for.
        self.attached = asyncio.Event()
        self.detached = asyncio.Event()
        self.detached.set()
        self._url = _with_heartbeat(url, name)
        self._name = name
        self._address = urlsplit(url).netloc.rpartition("@")[2]  # the rest of the URL holds the password
        self._away = asyncio.Event()
        self._told: type[Exception] | None = None

    async def keep(
        self,
        attach: Callable[[AbstractConnection], Awaitable[AbstractChannel]],
        stay: Callable[[AbstractChannel], Awaitable[None]],
    ) -> NoReturn:
        """Connect, attach within 10 seconds, stay until that ends, and connect again, until cancelled."""
        pauses = _Pauses()
        while True:
            try:
                async with self.connected() as connection:
                    async with asyncio.timeout(_ATTACH_SECONDS):
                        channel = await attach(connection)
                    await self._attached(channel, stay)
            except BROKER_ERRORS as error:
                self._tell(error)
            await pauses.next()

    async def settled(self) -> None:
        """Wait until the user is attached, as long as there is hope: while the broker is not known to be away, for 5 seconds."""
        if self.attached.is_set():
            return
        waits = [asyncio.ensure_future(event.wait()) for event in (self.attached, self._away)]
        try:
            await asyncio.wait(waits, timeout=_SETTLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AbstractConnection]:
        """Open a connection for the length of a block. Raises what the client raises, UnavailableError for too old a broker."""
        connection = _Connection(self._url)
        try:
            with answered(connection):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await connection.connect()
                    await connection.ready()
                _check_version(connection)
                yield connection
        finally:
            await _closed(connection, aiormq.ConnectionClosed(0, "closed"))

    async def _attached(self, channel: AbstractChannel, stay: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        _log.info("rabbitmq.connected", broker=self._address, connection=self._name)
        self._away.clear()
        self.detached.clear()
        self.attached.set()
        try:
            with answered(channel):
                await stay(channel)
        except aiormq.AMQPChannelError as error:  # the broker is there
            _log.warning("rabbitmq.channel_ended", connection=self._name, error=describe(error))
        finally:
            self.attached.clear()
            self.detached.set()
            # Before its connection: with that the broker would forget acknowledgements that it has not yet looked at.
            await _closed(channel, aiormq.ChannelClosed(0, "closed"))

    def _tell(self, error: Exception) -> None:
        """Log an outage once, and again when its kind changes."""
        if self._away.is_set() and type(error) is self._told:
            return
        refused = isinstance(error, aiormq.ProbableAuthenticationError) or error.args[:1] == (_NOT_ALLOWED,)
        hint = "user, password or virtual host are wrong" if refused else "it is tried without end; events wait in the outbox"
        _log.error("rabbitmq.away", broker=self._address, connection=self._name, hint=hint, error=describe(error))
        self._told = type(error)
        self._away.set()


class _Connection(aiormq.Connection):
    # A silent broker counts as gone after one heartbeat timeout, in which two beats are due, and a check each half of it.
    HEARTBEAT_GRACE_MULTIPLIER = 1


@asynccontextmanager
async def channel_on(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """Open a channel without confirms for the length of a block. Raises what the client raises."""
    channel = await open_channel(connection)
    try:
        with answered(channel):
            yield channel
    finally:
        await _closed(channel, aiormq.ChannelClosed(0, "closed"))


async def open_channel(connection: AbstractConnection, *, confirms: bool = False) -> AbstractChannel:
    """Open a channel, which ends with its connection. Raises what the client raises."""
    if connection.is_closed:
        raise aiormq.ConnectionClosed(0, "the connection ended")
    with answered(connection):
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await connection.channel(publisher_confirms=confirms, on_return_raises=False)


@contextmanager
def answered(used: AbstractChannel | AbstractConnection) -> Iterator[None]:
    """Turn what the client makes of a broken connection into an error of its own: a cancellation, or what it could not decode.

    A cancellation from outside goes on.
    """
    try:
        yield
    except BROKER_ERRORS:
        raise
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise aiormq.AMQPConnectionError("the connection ended") from error
    except Exception as error:
        if used.is_closed:
            raise aiormq.AMQPConnectionError(describe(error)) from error
        raise


def describe(error: BaseException) -> str:
    """Put an error in words for a log."""
    return f"{type(error).__name__}: {error}"


async def _closed(resource: AbstractChannel | AbstractConnection, reason: aiormq.AMQPError) -> None:
    try:
        with answered(resource):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await resource.close(reason)
    except BROKER_ERRORS as error:
        _log.debug("rabbitmq.not_closed", error=describe(error))


def _check_version(connection: AbstractConnection) -> None:
    """Refuse a broker whose quorum queues know no time to live: what is published to pause would stay for ever."""
    version = str(connection.server_properties.get("version", ""))
    if (found := re.match(r"(\d+)\.(\d+)", version)) and (int(found[1]), int(found[2])) < _OLDEST:
        raise UnavailableError(f"RabbitMQ {version} is too old: 3.10 or later is needed", reason="QUEUE_UNAVAILABLE")


class _Pauses:
    """Jittered pauses that double up to 2 seconds, and begin anew after what lasted longer than that."""

    def __init__(self) -> None:
        self._ceiling = _FIRST_PAUSE
        self._last = 0.0

    async def next(self) -> None:
        """Pause."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._last > _MAX_PAUSE:
            self._ceiling = _FIRST_PAUSE
        await asyncio.sleep(self._ceiling * random.SystemRandom().uniform(0.5, 1.0))
        self._ceiling = min(_MAX_PAUSE, self._ceiling * 2)
        self._last = loop.time()


def _with_heartbeat(url: str, name: str) -> str:
    parts = urlsplit(url)
    query = {"heartbeat": _HEARTBEAT_SECONDS, "name": name} | dict(parse_qsl(parts.query))
    return parts._replace(query=urlencode(query)).geturl()
