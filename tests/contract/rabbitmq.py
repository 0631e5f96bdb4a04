"""What tests of the RabbitMQ engine share: a way to the server that can be cut, and looks past the engine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiormq
from aiormq.abc import AbstractChannel
from pamqp.base import Frame
from pamqp.frame import marshal

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import Queue, UnroutableError
from meshkit.sockets import free_port
from tests.contract.queues import Server
from tests.contract.test_queue import PATIENCE


@asynccontextmanager
async def raw(server: Server) -> AsyncIterator[AbstractChannel]:
    """Open a channel past the engine."""
    async with aiormq.connect(server.url) as connection:
        yield await connection.channel()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds that nobody announces."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - there is nothing to wait for but the condition
            await asyncio.sleep(0.02)


async def publish_somehow(queue: Queue, body: bytes, *, mandatory: bool = True) -> None:
    """Publish as an outbox does: again and again."""

    async def published() -> bool:
        with contextlib.suppress(UnavailableError, UnroutableError, OverloadedError):
            await queue.publish("topic", body, mandatory=mandatory)
            return True
        return False

    await until(published)


class Proxy:
    """A way to the server that can be closed and opened, that keeps what clients sent, and that can put in a word of its own."""

    def __init__(self, server: Server) -> None:
        self._target = urlsplit(server.url)
        self._port = free_port()
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.url = self._target._replace(netloc=self._target.netloc.rpartition(":")[0] + f":{self._port}").geturl()
        self.sent = bytearray()
        self.flows = asyncio.Event()  # as long as it is set, answers go through
        self.flows.set()
        self.edits: dict[bytes, bytes] = {}  # what is to be replaced in either direction, as long as before
        self.swallow = b""  # the next answer with this in it is lost

    def say(self, frame: Frame, channel: int = 0) -> None:
        """Send something to all clients as if it came from the server, which has to be quiet."""
        for client in self._clients:
            client.write(marshal(frame, channel))

    async def open(self) -> None:
        """Let clients through."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self._port)

    async def cut(self) -> None:
        """End all connections, and take no new ones."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self._clients.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, there_writer]
        self._clients.append(writer)
        await asyncio.gather(self._pipe(reader, there_writer, self.sent), self._pipe(there_reader, writer, bytearray()))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                seen += data
                if seen is not self.sent:
                    await self.flows.wait()
                for old, new in self.edits.items():
                    data = data.replace(old, new)
                if self.swallow and self.swallow in data and seen is not self.sent:
                    self.swallow = b""
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()
