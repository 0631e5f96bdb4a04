"""What a message broker can do, whatever engine it is: topics, the work queues bound to them, and broadcasts.

A message is published to a topic. Every work queue bound to the topic gets a copy, which one of the queue's consumers handles, at
least once. Of a broadcast (`mandatory=False`) every listener to the topic gets a copy too, as long as it listens; where its sender
tried again, perhaps two.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

MAX_BODY_BYTES = 1_000_000
DEFAULT_DELIVERY_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a consumer gets it. `delivery` counts from 1; more than 1 means that an earlier try did not end well.

    `redriven` tells that it was a dead letter. `last` tells that it will be one that the broker keeps, if this delivery fails
    and no outage is why. The memory engine keeps none for good, so there it is never set: who published is told instead.
    """

    topic: str
    body: bytes
    delivery: int = 1
    redriven: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a queue gave up, and why."""

    topic: str
    body: bytes
    reason: str


Handler = Callable[[Message], Awaitable[None]]


class UnroutableError(Exception):
    """No work queue is bound to the topic: nobody took the message."""


class DeadLetteredError(Exception):
    """A broker that keeps nothing gave the message up after its last delivery."""


class Queue(Protocol):
    """A message broker."""

    async def publish(self, topic: str, body: bytes, *, mandatory: bool = True, together: bool = False) -> None:
        """Send a message; when this returns, the message is safe without its sender.

        Safe means that the broker keeps it durably. The memory engine cannot keep anything, so there it means that every bound work
        queue has handled it. A message with `mandatory=False` is a broadcast: nobody need be bound, and listeners hear it. The
        broker has it when this returns; with the memory engine the listeners' buffers have it, and nobody waits for its handling.
        What is sent `together` may travel, and come again after a crash, with other messages of its topic, which costs the broker
        less. A bound queue may count what travels together as one.

        Raises:
            UnroutableError: mandatory, and no work queue is bound to the topic.
            DeadLetteredError: memory engine only: handling failed for good.
            meshkit.errors.OverloadedError: a bound queue is full.
            meshkit.errors.UnavailableError: the broker does not answer, or closed before the message was safe.
            ValueError: the body is over 1,000,000 bytes.

        """

    def work(
        self,
        queue: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        concurrency: int,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> AbstractAsyncContextManager[None]:
        """Declare a work queue bound to topics, and consume it until the context ends; then what is being handled is finished.

        Up to `concurrency` messages are handled at once. A handler that returns has handled its message. One that raises gets it
        again after a growing, jittered pause (at most 10 s): without end for `UnavailableError` and `OverloadedError`, and up to
        `delivery_limit` deliveries in all for anything else; after that the message is a dead letter. A queue outlives its
        consumers.
        """

    def listen(self, topics: Sequence[str], handler: Handler, *, missed: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Hand every broadcast of the topics to the handler, in order, until the context ends.

        `missed` is called when broadcasts may have gone by unheard: the listener was too slow, the broker is away, or the handler
        failed. While the listener may not be hearing, it is called at least once a second, and once more when that is over; at most
        every 100 ms. So whatever a broadcast made stale is dropped within a second of its confirmation, heard or not.
        """

    async def dead_letters(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """Show the oldest dead letters of a work queue, and leave them there."""

    async def redrive(self, queue: str) -> int:
        """Put a work queue's dead letters back into it, and tell how many."""
