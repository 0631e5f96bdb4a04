"""Small messages of one topic that travel together: the broker writes, confirms and hands out one message instead of many."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from meshkit.queue.rabbitmq_message import Envelope
from meshkit.together import Together

MAX_MEMBERS = 64
# A message alone may be larger: what is large gains nothing by company.
MAX_PACK_BYTES = 100_000
_SMALLEST = MAX_PACK_BYTES // MAX_MEMBERS


class Packs:
    """Publishes in packs, for each topic one after the other. A context manager: what is not confirmed at its end is given up."""

    def __init__(self, send: Callable[[Envelope], Awaitable[None]]) -> None:
        self._send = send
        self._topics: dict[str, Together[Envelope, None]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def publish(self, envelope: Envelope) -> None:
        """Publish a message with others of its topic. Raises what `send` raises."""
        together = self._topics.get(envelope.topic)
        if together is None:
            together = self._topics[envelope.topic] = Together(self._publish, room=MAX_PACK_BYTES, size=_size)
            self._stack.push_async_exit(together)
        await together.ask(envelope)

    async def _publish(self, members: Sequence[Envelope]) -> Sequence[None]:
        await self._send(Envelope.packing(members))
        return [None] * len(members)


def _size(envelope: Envelope) -> int:
    return max(len(envelope.body), _SMALLEST)
