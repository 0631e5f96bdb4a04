"""A proxy between the store and its server, which counts round trips and can hold back what the server says."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

_CHUNK = 65_536


class Wire:
    """What passes between clients and a server. A round trip begins when a client speaks after the server has spoken."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.round_trips = 0
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._clients: set[asyncio.Task[None]] = set()

    def fall_silent(self) -> None:
        """Hold back all answers until `speak`."""
        self._speaking.clear()

    def speak(self) -> None:
        """Let the answers through, also those that were held back."""
        self._speaking.set()

    async def aclose(self) -> None:
        """Wait until all clients are gone."""
        self.speak()
        if self._clients:
            await asyncio.wait(self._clients)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        client = asyncio.current_task()
        assert client
        self._clients.add(client)
        try:
            await self._serve(reader, writer)
        finally:
            self._clients.discard(client)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._server)
        if parts.scheme == "unix":
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(parts.path)
        else:
            upstream_reader, upstream_writer = await asyncio.open_connection(parts.hostname, parts.port)
        asking = False

        async def up() -> None:
            nonlocal asking
            while data := await reader.read(_CHUNK):
                self.round_trips += not asking
                asking = True
                upstream_writer.write(data)
            upstream_writer.close()

        async def down() -> None:
            nonlocal asking
            while data := await upstream_reader.read(_CHUNK):
                asking = False
                await self._speaking.wait()
                writer.write(data)
            writer.close()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(up())
            tasks.create_task(down())


@asynccontextmanager
async def wires_on(ports: Mapping[int, int]) -> AsyncIterator[list[Wire]]:
    """Put proxies on ports of the loopback address, in front of servers on others, and give them in that order."""
    async with AsyncExitStack() as stack:
        wires: list[Wire] = []
        for port, server_port in ports.items():
            wires.append(await stack.enter_async_context(aclosing(Wire(f"redis://127.0.0.1:{server_port}"))))
            await stack.enter_async_context(await asyncio.start_server(wires[-1].connect, "127.0.0.1", port))
        yield wires


@asynccontextmanager
async def wire_to(server: str) -> AsyncIterator[tuple[Wire, str]]:
    """Put a proxy in front of a server and give it with its URL."""
    wire = Wire(server)
    with tempfile.TemporaryDirectory(prefix="feedmesh-") as folder:
        path = Path(folder) / "wire.sock"
        listening = await asyncio.start_unix_server(wire.connect, str(path))
        async with listening, aclosing(wire):
            yield wire, f"unix://{path}"
