"""RabbitMQ: messages that travel together are one to the broker."""

import asyncio

import pytest

from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.queue.rabbitmq_packs import MAX_MEMBERS, MAX_PACK_BYTES
from meshkit.queue.rabbitmq_topology import KILLS_LIMIT
from tests.contract.queues import Server
from tests.contract.rabbitmq import raw, until
from tests.contract.test_queue import Gate, Inbox
from tests.contract.test_queue_together import send_together

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
_MANY = 500


async def test_the_broker_has_fewer_messages(rabbitmq: Server, prefix: str) -> None:
    """Many small messages are few to the broker, within the bounds of a pack; large ones are not put together."""
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue, raw(rabbitmq) as channel:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass

        async def counted(*bodies: bytes) -> int:
            await send_together(queue, *bodies)
            return (await channel.queue_purge(f"{prefix}.jobs")).message_count or 0

        assert _MANY // MAX_MEMBERS <= await counted(*[b"small"] * _MANY) <= _MANY // MAX_MEMBERS + 2
        assert await counted(*[bytes(MAX_PACK_BYTES)] * 5) == 5


async def test_what_is_left_of_a_pack_comes_again(rabbitmq: Server, prefix: str) -> None:
    """Of messages that came together none is lost when the consumer goes before all are handled."""
    gate, inbox = Gate(), Inbox()
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue:
        async with queue.work("jobs", ["topic"], gate, concurrency=2):
            await send_together(queue, *(b"%d" % number for number in range(20)))
            for _ in range(2):
                await gate.entered.acquire()
            asyncio.get_running_loop().call_soon(gate.open.set)  # when the consumer is leaving
        assert gate.finished == 2
        async with queue.work("jobs", ["topic"], inbox, concurrency=2):
            await inbox.has(18)
    assert {b"%d" % number for number in range(2, 20)} <= set(inbox.bodies)


async def test_a_pack_that_kills_its_consumers_is_shown_whole(rabbitmq: Server, prefix: str) -> None:
    """When the broker gives up what came together, each message is among the dead letters, and is handled when it is put back."""
    bodies = [b"%d" % number for number in range(20)]
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue, raw(rabbitmq) as channel:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass
        await send_together(queue, *bodies)
        for _ in range(KILLS_LIMIT + 1):
            while (found := await channel.basic_get(f"{prefix}.jobs")).body:
                await channel.basic_nack(found.delivery_tag or 0)

        async def dead() -> bool:
            return len(await queue.dead_letters("jobs")) == len(bodies)

        await until(dead)
        found_letters = await queue.dead_letters("jobs")
        assert {letter.body for letter in found_letters} == set(bodies)
        assert all("delivery_limit" in letter.reason for letter in found_letters)
        await queue.redrive("jobs")
        inbox = Inbox()
        async with queue.work("jobs", ["topic"], inbox, concurrency=4):
            await inbox.has(len(bodies))
    assert sorted(inbox.bodies) == sorted(bodies)


async def test_who_gives_up_takes_nobody_along(rabbitmq: Server, prefix: str) -> None:
    """A publisher that is cancelled does not keep the messages that travel with its own from being sent."""
    inbox = Inbox()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        queue.work("jobs", ["topic"], inbox, concurrency=4),
        asyncio.TaskGroup() as tasks,
    ):
        leaving = tasks.create_task(queue.publish("topic", b"cancelled", together=True))
        await asyncio.sleep(0)
        staying = [tasks.create_task(queue.publish("topic", b"%d" % number, together=True)) for number in range(5)]
        leaving.cancel()
        await asyncio.gather(*staying)
        await inbox.has(5)
    assert {b"%d" % number for number in range(5)} <= set(inbox.bodies)
