"""RabbitMQ: retries, dead letters, and messages that nobody can handle."""

import asyncio
import sys

import aiormq
import pytest
from aiormq import spec
from structlog.testing import capture_logs

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import Message, Queue
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.queue.rabbitmq_topology import KILLS_LIMIT, RabbitmqBounds
from tests.contract.queues import Server
from tests.contract.rabbitmq import Proxy, publish_somehow, raw, until
from tests.contract.test_queue import PATIENCE, Inbox, letters, unheard

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
SLOW = 60  # seconds: each look at hundreds of dead letters takes one
CONSUMER = """
import asyncio, sys
from meshkit.queue.rabbitmq import open_rabbitmq

async def hold(message):
    print(f"delivery {message.delivery}", flush=True)
    await asyncio.Event().wait()

async def main():
    async with open_rabbitmq(sys.argv[1], prefix=sys.argv[2]) as queue, queue.work("jobs", ["topic"], hold, concurrency=1):
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_full_queue_refuses(rabbitmq: Server, prefix: str) -> None:
    """A queue at its bound refuses, keeps what it has, and takes more when it is consumed."""
    bounds = RabbitmqBounds(messages=10)
    async with open_rabbitmq(rabbitmq.url, prefix=prefix, bounds=bounds) as queue:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass
        # The broker notices that a queue is full only after what it was sent meanwhile.
        taken = 0
        for _ in range(10):
            outcomes = await asyncio.gather(*(queue.publish("topic", b"") for _ in range(100)), return_exceptions=True)
            taken += outcomes.count(None)
            if any(outcomes):
                break
        assert {type(outcome) for outcome in outcomes} <= {type(None), OverloadedError}
        assert any(outcomes)
        assert taken >= 10
        inbox = Inbox()
        async with queue.work("jobs", ["topic"], inbox, concurrency=4):
            await inbox.has(taken)
            await publish_somehow(queue, b"more")
            await inbox.has(taken + 1)


async def test_a_retry_waits_seconds_for_a_missing_work_queue(rabbitmq: Server, prefix: str) -> None:
    """A message whose pause ended while its work queue was deleted is delivered when the queue is there again, in under 30 s."""
    inbox, witness = Inbox(), Inbox()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        raw(rabbitmq) as channel,
        queue.work("witness", ["topic"], witness, concurrency=1),
    ):
        async with queue.work("jobs", ["topic"], inbox, concurrency=1):
            pass
        await channel.queue_delete(f"{prefix}.jobs")
        for name in ("jobs", "witness"):
            await channel.basic_publish(b"", routing_key=f"{prefix}.{name}.retry.100")
        await witness.has(1)
        async with queue.work("jobs", ["topic"], inbox, concurrency=1), asyncio.timeout(30):
            await inbox.has(1)


async def test_an_unreadable_message_harms_only_its_own_queue(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """A message that the client cannot decode is in nobody's way but its own queue's, which goes on when it is removed."""
    bad, good, heard = Inbox(), Inbox(), Inbox()
    proxy.edits[b"BADTYPE"] = b"\xff" * 7
    await proxy.open()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        raw(rabbitmq) as channel,
        queue.work("bad", ["bad"], bad, concurrency=1),
        queue.work("good", ["topic"], good, concurrency=1),
        queue.listen(["topic"], heard, missed=unheard),
        aiormq.connect(proxy.url) as foreign,
    ):
        publishing = await foreign.channel()
        with capture_logs() as logs:
            properties = spec.Basic.Properties(message_type="BADTYPE")
            await publishing.basic_publish(b"", exchange=f"{prefix}.work", routing_key="bad", properties=properties)

            async def told() -> bool:
                return any(log["event"] == "rabbitmq.away" and log["connection"].endswith(" bad") for log in logs)

            await until(told)
            await queue.publish("topic", b"work")
            await queue.publish("topic", b"heard", mandatory=False)
            await good.has(2)
            await heard.has(1)

        async def removed() -> bool:
            purged = await channel.queue_purge(f"{prefix}.bad")
            return bool(purged.message_count)

        await until(removed)
        await queue.publish("bad", b"fine")
        await bad.has(1)
    assert bad.bodies == [b"fine"]


async def test_kills_of_the_consumer_do_not_give_a_message_up(rabbitmq: Server, prefix: str) -> None:
    """A message whose consumer was killed ten times is delivered an eleventh time, and knows it."""
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass
        await queue.publish("topic", b"job")
        for delivery in range(1, 11):
            consumer = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                CONSUMER,
                rabbitmq.url,
                prefix,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert consumer.stdout
            await asyncio.wait_for(consumer.stdout.readuntil(b"delivery "), PATIENCE)
            number = await consumer.stdout.readline()
            consumer.kill()
            await consumer.wait()
            assert int(number) == delivery
        inbox = Inbox()
        async with queue.work("jobs", ["topic"], inbox, concurrency=1):
            await inbox.has(1)
        assert inbox.messages == [Message("topic", b"job", 11)]
        assert await queue.dead_letters("jobs") == []


async def test_a_message_that_kills_its_consumers_is_given_up(rabbitmq: Server, prefix: str) -> None:
    """After very many deliveries without an end the broker itself puts the message among the dead letters, with the reason."""
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue, raw(rabbitmq) as channel:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass
        await queue.publish("topic", b"killer")
        for _ in range(KILLS_LIMIT + 1):
            found = await channel.basic_get(f"{prefix}.jobs")
            await channel.basic_nack(found.delivery_tag or 0)

        async def dead() -> bool:
            return bool(await queue.dead_letters("jobs"))

        await until(dead)
        [letter] = await queue.dead_letters("jobs")
    assert (letter.topic, letter.body) == ("topic", b"killer")
    assert "delivery_limit" in letter.reason


async def test_a_handler_knows_the_last_delivery(rabbitmq: Server, prefix: str) -> None:
    """The delivery after which a message would be kept as a dead letter is marked, however many outages there were, each time."""
    away = UnavailableError("away", reason="AWAY")
    inbox = Inbox(away, ValueError("first"), away, ValueError("second"), ValueError("redriven"))
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix, pause=lambda _deliveries: 0.0) as queue,
        queue.work("jobs", ["topic"], inbox, concurrency=1, delivery_limit=2),
    ):
        await queue.publish("topic", b"job")
        await letters(queue, "jobs", 1)
        assert await queue.redrive("jobs") == 1
        await inbox.has(6)
    assert [message.last for message in inbox.messages] == [False, False, True, True, False, True]


async def test_a_long_reason_is_cut(rabbitmq: Server, prefix: str) -> None:
    """A failure whose text is larger than a frame, and no proper text either, still makes a dead letter, with its beginning."""
    inbox = Inbox(ValueError("begin \udc00" + "x" * 500_000))
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue:
        with capture_logs():  # to print it would take a minute
            await _give_up(queue, inbox)
        [letter] = await queue.dead_letters("jobs")
    assert letter.reason.startswith("ValueError: begin ?x")


async def _give_up(queue: Queue, handler: Inbox) -> None:
    """Have a handler fail for good."""

    async def dead() -> bool:
        return bool(await queue.dead_letters("jobs"))

    async with queue.work("jobs", ["topic"], handler, concurrency=1, delivery_limit=1):
        await queue.publish("topic", b"job")
        await until(dead)


async def test_a_pause_survives_the_process(rabbitmq: Server, prefix: str) -> None:
    """A message that pauses when its consumer goes comes to the next one, which knows of the earlier delivery."""
    first, second = Inbox(ValueError("once")), Inbox()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix, pause=lambda _deliveries: 0.3) as queue,
        queue.work("jobs", ["topic"], first, concurrency=1),
    ):
        await queue.publish("topic", b"job")
        await first.has(1)
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue, queue.work("jobs", ["topic"], second, concurrency=1):
        await second.has(1)
    assert second.messages == [Message("topic", b"job", 2)]


async def test_many_dead_letters_are_redriven(rabbitmq: Server, prefix: str) -> None:
    """Redriving moves all dead letters, however many, each once, also when they fail again meanwhile."""

    async def fail(_message: Message) -> None:
        raise ValueError("poison")

    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue:
        with capture_logs():
            async with queue.work("jobs", ["topic"], fail, concurrency=50, delivery_limit=1):
                await asyncio.gather(*(queue.publish("topic", b"%d" % number) for number in range(250)))

                async def all_dead() -> bool:
                    return len(await queue.dead_letters("jobs", limit=300)) == 250

                await until(all_dead, SLOW)
                assert await queue.redrive("jobs") == 250
                await until(all_dead, SLOW)
        assert await queue.redrive("jobs") == 250
        inbox = Inbox()
        async with queue.work("jobs", ["topic"], inbox, concurrency=50):
            await inbox.has(250)
    assert {message.delivery for message in inbox.messages} == {1}
    assert len(set(inbox.bodies)) == len(inbox.bodies) == 250
