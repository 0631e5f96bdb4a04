"""A connection to a Redis or Valkey server that many calls share: each is written at once, and answers come in their order.

A pool of connections, one for each call under way, costs a read several times as much: in system calls, and in waiting for places.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

Word = str | bytes | int

# So many exchanges may be under way on a connection. A server that is so far behind serves nobody in time.
_MOST = 4_096
# A deadline noticed so much too late, in seconds, tells of this process, which had no time to look; not of the server.
STALLED = 0.05
# A connection on which so long nothing was heard, in seconds, though something was due, may have nobody at its other end any more.
_SILENT = 3.0
_NOTHING = object()


class StalledError(Exception):
    """The deadline passed while this process did something else."""


class CongestedError(Exception):
    """The deadline passed behind this process's other calls, which the server answers."""


class _Exchange:
    """Some commands, whose answers are waited for until a deadline; later ones are dropped."""

    __slots__ = ("answered", "began", "count", "deadline", "replies")

    def __init__(self, answered: asyncio.Future[list[Any]], count: int, began: float, deadline: float) -> None:
        self.answered = answered
        self.count = count
        self.began = began
        self.deadline = deadline
        self.replies: list[Any] = []


class Link(asyncio.Protocol):
    """One connection. It does not come back: after its end `is_open` is false, and every exchange on it has failed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_NOTHING)
        self._exchanges: deque[_Exchange] = deque()
        self._unsent: list[bytes] = []
        self._transport = asyncio.Transport()
        self._closed = loop.create_future()
        self._heard = loop.time()
        self._look: asyncio.TimerHandle | None = None
        self._look_at = float("inf")
        self.is_open = False

    def send(self, commands: Sequence[tuple[Word, ...]], deadline: float) -> asyncio.Future[list[Any]]:
        """Write commands, and give what will be their answers; error replies are exceptions among them.

        What is asked in one pass of the event loop goes out together: each write is a system call, and wakes the server.

        Raises:
            CongestedError: too much is under way.
            ConnectionError (redis-py's): the connection has ended.

        """
        if not self.is_open:
            raise RedisConnectionError("the connection has ended")
        if len(self._exchanges) >= _MOST:
            raise CongestedError("too many calls of this process are under way")
        answered: asyncio.Future[list[Any]] = self._loop.create_future()
        self._exchanges.append(_Exchange(answered, len(commands), self._loop.time(), deadline))
        if not self._unsent:
            self._loop.call_soon(self._write)
        # hiredis says of its own type that it is a tuple of one word.
        self._unsent += [hiredis.pack_command(cast("Any", words)) for words in commands]
        if deadline < self._look_at:
            self._look_again(deadline)
        return answered

    async def aclose(self) -> None:
        """End the connection; what is under way fails."""
        if not self._transport.get_write_buffer_size():
            self._transport.close()
        self._end(RedisConnectionError("the connection was closed"))
        await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        self._end(RedisConnectionError(f"the server ended the connection: {exc}"))
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are complete."""
        self._heard = self._loop.time()
        self._reader.feed(data)
        exchanges, next_reply = self._exchanges, self._reader.gets
        try:
            while (reply := next_reply()) is not _NOTHING:
                exchange = exchanges[0]
                exchange.replies.append(reply)
                if len(exchange.replies) == exchange.count:
                    exchanges.popleft()
                    if not exchange.answered.done():
                        exchange.answered.set_result(exchange.replies)
        except (InvalidResponse, IndexError) as error:
            self._end(InvalidResponse(f"the server says what nobody asked: {error}"))

    def _write(self) -> None:
        if self.is_open:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _end(self, error: Exception) -> None:
        self.is_open = False
        if not self._transport.is_closing():
            self._transport.abort()
        if self._look:
            self._look.cancel()
        while self._exchanges:
            exchange = self._exchanges.popleft()
            if not exchange.answered.done():
                exchange.answered.set_exception(error)

    # One timer looks after all deadlines: one for each exchange would cost each some microseconds.
    def _look_again(self, deadline: float) -> None:
        if self._look:
            self._look.cancel()
        self._look_at = deadline
        self._look = self._loop.call_at(deadline, self._fail_overdue)

    def _fail_overdue(self) -> None:
        now = self._loop.time()
        stalled = now - self._look_at > STALLED
        self._look, self._look_at = None, float("inf")
        waiting = [exchange for exchange in self._exchanges if not exchange.answered.done()]
        for exchange in waiting:
            if exchange.deadline <= now:
                exchange.answered.set_exception(self._reason(exchange, now))
        if not stalled and now - max(self._heard, self._exchanges[0].began if self._exchanges else now) > _SILENT:
            self._end(RedisConnectionError("the server has been silent for too long"))
        elif later := [exchange.deadline for exchange in waiting if exchange.deadline > now]:
            self._look_again(min(later))

    def _reason(self, exchange: _Exchange, now: float) -> Exception:
        """Tell who is to blame for an answer that did not come in time."""
        if now - exchange.deadline > STALLED:
            return StalledError("this process had no time to look for the answer")
        if self._heard > exchange.began:
            return CongestedError("too many calls of this process are under way")
        return TimeoutError("no answer in time")
