"""What any engine hands to a listener: a bounded buffer, and a task that hands it on in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from meshkit.queue.draining import finish
from meshkit.queue.port import Handler, Message
from meshkit.tracing import continued

_MISS_SECONDS = 0.1


class Listener:
    """Keeps the messages that its handler is behind. When that are too many it drops the oldest, and says so once per episode."""

    def __init__(self, topics: frozenset[str], handler: Handler, missed: Callable[[], None], bound: int) -> None:
        self.topics = topics
        self._handler = handler
        self._missed = missed
        self._bound = bound
        self._buffer: deque[tuple[Message, str]] = deque()
        self._wake = asyncio.Event()
        self._listening = True
        self._dropped = 0
        self._told: asyncio.TimerHandle | None = None
        self._missed_more = False

    def offer(self, message: Message, traceparent: str) -> None:
        """Take a message of any topic, with the trace that it belongs to; it never waits and never fails."""
        if message.topic not in self.topics or not self._listening:
            return
        if len(self._buffer) >= self._bound:
            self._drop_oldest()
        self._buffer.append((message, traceparent))
        self._wake.set()

    def miss(self) -> None:
        """Tell that messages may have gone by unheard: at once, and what is missed in the next 100 ms together after them."""
        self._missed_more = self._told is not None
        if self._told is None:
            self._missed()
            self._told = asyncio.get_running_loop().call_later(_MISS_SECONDS, self._miss_again)

    def stop(self) -> None:
        """Forget what waits, and hand on nothing more."""
        self._listening = False
        self._buffer.clear()
        self._wake.set()

    @asynccontextmanager
    async def handing_on(self, *, drain_seconds: float) -> AsyncIterator[None]:
        """Hand on messages for the length of a block, and let the handler finish the last one. What waits then is forgotten."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self.stop()
            await finish((task,), seconds=drain_seconds)

    def _miss_again(self) -> None:
        self._told = None
        if self._missed_more and self._listening:
            self.miss()

    async def _run(self) -> None:
        while self._listening:
            await self._wake.wait()
            while self._buffer:
                await self._hand_on(*self._buffer.popleft())
            self._wake.clear()
            self._dropped = 0

    async def _hand_on(self, message: Message, traceparent: str) -> None:
        logger = structlog.get_logger()
        try:
            with continued(traceparent):
                await self._handler(message)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            logger.warning("queue.listener_failed", topic=message.topic, exc_info=True)
            self.miss()
        except Exception:  # a listener's failure is nobody else's
            logger.exception("queue.listener_failed", topic=message.topic)
            self.miss()

    def _drop_oldest(self) -> None:
        dropped, _ = self._buffer.popleft()
        self.miss()
        self._dropped += 1
        if self._dropped == 1:
            structlog.get_logger().warning("queue.listener_too_slow", topic=dropped.topic, buffered=self._bound)
