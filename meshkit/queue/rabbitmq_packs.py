"""Small messages of one topic that travel together: the broker writes, confirms and hands out one message instead of many."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from meshkit.errors import UnavailableError
from meshkit.queue.draining import finish
from meshkit.queue.rabbitmq_message import Envelope

MAX_MEMBERS = 64
# Each member may be as large as a message, but what is large gains nothing by company.
MAX_PACK_BYTES = 100_000

Send = Callable[[Envelope], Awaitable[None]]


@dataclass(slots=True, eq=False)
class _Pack:
    """What is sent together. It takes members until its turn comes."""

    members: list[Envelope] = field(default_factory=list)
    size: int = 0
    sent: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def add(self, envelope: Envelope) -> None:
        self.members.append(envelope)
        self.size += len(envelope.body)

    def fail(self, error: Exception) -> None:
        self.sent.set_exception(error)
        self.sent.exception()  # seen, also when nobody waits any more

    def has_room_for(self, envelope: Envelope) -> bool:
        return len(self.members) < MAX_MEMBERS and self.size + len(envelope.body) <= MAX_PACK_BYTES


class Packs:
    """Publishes in packs. One of a topic is under way at once; what comes meanwhile makes up the next: nobody waits for company.

    `deadline` is in seconds, from publish to confirm.
    """

    def __init__(self, send: Send, *, deadline: float) -> None:
        self._send = send
        self._deadline = deadline
        self._turns: dict[str, asyncio.Lock] = {}
        self._open: dict[str, _Pack] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(self, envelope: Envelope) -> None:
        """Publish a message with others. Raises what `send` raises, and UnavailableError after the deadline."""
        pack = self._open.get(envelope.topic)
        if pack is None or not pack.has_room_for(envelope):
            pack = self._begin(envelope.topic)
        pack.add(envelope)
        await asyncio.shield(pack.sent)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await finish(self._tasks.copy(), seconds=self._deadline)

    def _begin(self, topic: str) -> _Pack:
        pack = self._open[topic] = _Pack()
        # Not the first caller's own task: others must not suffer when that one gives up.
        task = asyncio.create_task(self._publish(topic, pack))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pack

    async def _publish(self, topic: str, pack: _Pack) -> None:
        try:
            async with asyncio.timeout(self._deadline), self._turns.setdefault(topic, asyncio.Lock()):
                self._seal(topic, pack)
                await self._send(Envelope.packing(pack.members))
        except TimeoutError:
            pack.fail(UnavailableError("RabbitMQ did not confirm in time; try again", reason="QUEUE_UNAVAILABLE"))
        except asyncio.CancelledError:
            pack.fail(UnavailableError("the queue was closed", reason="QUEUE_UNAVAILABLE"))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait get it
            pack.fail(error)
        else:
            pack.sent.set_result(None)
        finally:
            self._seal(topic, pack)

    def _seal(self, topic: str, pack: _Pack) -> None:
        """Take no more members."""
        if self._open.get(topic) is pack:
            del self._open[topic]
