"""Messages that travel together: on every engine each is a message of its own."""

import asyncio
from collections import Counter

from meshkit.queue.port import Message, Queue
from meshkit.tracing import continued, trace_id
from tests.contract.rabbitmq import until
from tests.contract.test_queue import Gate, Inbox

_MANY = 500


async def send_together(queue: Queue, *bodies: bytes) -> None:
    """Publish all at once."""
    await asyncio.gather(*(queue.publish("topic", body, together=True) for body in bodies))


async def test_what_travels_together_is_handled_one_by_one(queue: Queue) -> None:
    """Of many messages that are sent together each is handled, the failing ones again, and only those."""
    tries: Counter[bytes] = Counter()
    seen = Inbox()

    async def handle(message: Message) -> None:
        tries[message.body] += 1
        if tries[message.body] == 1 and message.body.endswith(b"7"):
            raise ValueError("once")
        await seen(message)

    bodies = [b"%d" % number for number in range(_MANY)]
    async with queue.work("jobs", ["topic"], handle, concurrency=8):
        await send_together(queue, *bodies)
        await seen.has(_MANY)
    assert sorted(seen.bodies) == sorted(bodies)
    assert tries == {body: 2 if body.endswith(b"7") else 1 for body in bodies}
    assert {message.delivery for message in seen.messages if message.body.endswith(b"7")} == {2}


async def test_what_travels_together_keeps_its_own_trace(queue: Queue) -> None:
    """Each message is handled in the trace of its own publisher."""
    traces: dict[bytes, str] = {}
    seen = Inbox()

    async def handle(message: Message) -> None:
        traces[message.body] = trace_id()
        await seen(message)

    async def send(number: int) -> None:
        with continued(f"00-{number:032x}-b7ad6b7169203331-01"):
            await queue.publish("topic", b"%d" % number, together=True)

    async with queue.work("jobs", ["topic"], handle, concurrency=8):
        await asyncio.gather(*map(send, range(1, 100)))
        await seen.has(99)
    assert traces == {b"%d" % number: f"{number:032x}" for number in range(1, 100)}


async def test_no_more_than_the_concurrency_is_handled_of_what_came_together(queue: Queue) -> None:
    """However many messages come at once, only so many are handled at once."""
    gate = Gate()
    async with queue.work("jobs", ["topic"], gate, concurrency=4):
        sending = asyncio.ensure_future(send_together(queue, *[b""] * 50))
        for _ in range(4):
            await gate.entered.acquire()
        gate.open.set()
        await sending

        async def finished() -> bool:
            return gate.finished == 50

        await until(finished)
    assert gate.most == 4
