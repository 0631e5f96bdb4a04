"""A connection to RabbitMQ that is opened again whenever it ends, and the channels on it.

aio-pika's own robust connection restores every channel, queue and consumer by itself, but tells nobody: a listener would not learn
that it missed something, a publisher would wait instead of failing, and a deleted queue would stay deleted. Here whoever uses a
channel says what to do on a fresh one, and does it again on the next. So the protocol layer below aio-pika is all that is used.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection

from meshkit.errors import UnavailableError

# What the client raises when the broker is away, goes away, refuses, or does not answer in time.
BROKER_ERRORS = (aiormq.AMQPError, OSError, RuntimeError, UnavailableError)
_NOT_ALLOWED = 530
_HEARTBEAT_SECONDS = "10"
_ANSWER_SECONDS = 5.0
_SETTLE_SECONDS = 5.0
_FIRST_PAUSE = 0.05
_MAX_PAUSE = 2.0
_log = structlog.get_logger(__name__)


class Link:
    """One connection, kept open by `run`. `name` is what the broker's own tools show."""

    def __init__(self, url: str, name: str) -> None:
        self._url = _with_heartbeat(url, name)
        self._name = name
        self._address = urlsplit(url).netloc.rpartition("@")[2]  # the rest of the URL holds the password
        self._connection: AbstractConnection | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._told: type[Exception] | None = None

    async def run(self) -> NoReturn:
        """Connect, and connect again, until cancelled."""
        pauses = _Pauses()
        while True:
            try:
                with answered():
                    async with self._connected() as connection:
                        await connection.closing
            except BROKER_ERRORS as error:
                self._tell(error)
            await pauses.next()

    async def settled(self, began: asyncio.Event) -> bool:
        """Wait until something began, as long as there is hope: while the broker is not known to be away, for 5 seconds."""
        waits = [asyncio.ensure_future(event.wait()) for event in (began, self._down)]
        try:
            await asyncio.wait(waits, timeout=_SETTLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return began.is_set()

    async def keep(self, session: Callable[[AbstractChannel], Awaitable[None]], *, confirms: bool = False) -> NoReturn:
        """Run a session on a channel of its own, and on another one whenever it ended, until cancelled."""
        pauses = _Pauses()
        while True:
            await self._up.wait()
            try:
                with answered():
                    async with self.channel(confirms=confirms) as channel:
                        await session(channel)
            except BROKER_ERRORS as error:
                _log.warning("rabbitmq.channel_ended", connection=self._name, error=describe(error))
            await pauses.next()

    @asynccontextmanager
    async def channel(self, *, confirms: bool = False) -> AsyncIterator[AbstractChannel]:
        """Open a channel for the length of a block. Raises what the client raises, UnavailableError when there is no connection."""
        if self._connection is None:
            raise UnavailableError("RabbitMQ is away; try again", reason="QUEUE_UNAVAILABLE")
        with answered():
            async with asyncio.timeout(_ANSWER_SECONDS):
                channel = await self._connection.channel(publisher_confirms=confirms, on_return_raises=False)
        try:
            with answered():
                yield channel
        finally:
            with _ignored():
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await channel.close(aiormq.ChannelClosed(0, "closed"))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AbstractConnection]:
        connection = aiormq.Connection(self._url)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await connection.connect()
                await connection.ready()
            self._connection = connection
            self._down.clear()
            self._up.set()
            _log.info("rabbitmq.connected", broker=self._address, connection=self._name)
            yield connection
        finally:
            self._connection = None
            self._up.clear()
            with _ignored():
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await connection.close(aiormq.ConnectionClosed(0, "closed"))

    def _tell(self, error: Exception) -> None:
        """Log an outage once, and again when its kind changes."""
        if self._down.is_set() and type(error) is self._told:
            return
        refused = isinstance(error, aiormq.ProbableAuthenticationError) or error.args[:1] == (_NOT_ALLOWED,)
        hint = "user, password or virtual host are wrong" if refused else "it is tried without end; events wait in the outbox"
        _log.error("rabbitmq.away", broker=self._address, connection=self._name, hint=hint, error=describe(error))
        self._told = type(error)
        self._down.set()


@contextmanager
def answered() -> Iterator[None]:
    """Turn a cancellation that the client makes of a broken connection into an error; one from outside goes on."""
    try:
        yield
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise aiormq.AMQPConnectionError("the connection ended") from error


def describe(error: BaseException) -> str:
    """Put an error in words for a log."""
    return f"{type(error).__name__}: {error}"


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        with answered():
            yield
    except BROKER_ERRORS as error:
        _log.debug("rabbitmq.not_closed", error=describe(error))


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
