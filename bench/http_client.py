"""HTTP/1.1 as a load generator needs it: requests as ready bytes, connections that stay open, answers with a Content-Length."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_STATUS = slice(9, 12)


class Answer(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes


class _Connection(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_HEAD_END)
        if head_end < 0 or self._answer is None:
            return
        length_at = self._buffer.find(_LENGTH, 0, head_end) + len(_LENGTH)
        body_at = head_end + len(_HEAD_END)
        body_end = body_at + int(self._buffer[length_at : self._buffer.find(b"\r", length_at)])
        if len(self._buffer) >= body_end:
            answer = Answer(int(self._buffer[_STATUS]), bytes(self._buffer[body_at:body_end]))
            self._buffer.clear()
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> Answer:
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.close()


class Connections:
    """So many connections to one server; a request takes any that is free, and waits while none is."""

    def __init__(self, connections: list[_Connection]) -> None:
        self._free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)

    async def ask(self, request: bytes) -> Answer:
        """Send a request, and give the answer. Raises ConnectionError when the server closed the connection."""
        connection = await self._free.get()
        try:
            return await connection.ask(request)
        finally:
            self._free.put_nowait(connection)


@asynccontextmanager
async def connected(host: str, port: int, count: int) -> AsyncIterator[Connections]:
    """Open connections for the length of a block."""
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(_Connection, host, port))[1] for _ in range(count)]
    try:
        yield Connections(opened)
    finally:
        for connection in opened:
            connection.close()
