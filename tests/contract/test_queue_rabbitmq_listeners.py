"""RabbitMQ: listeners hear everything, or are told that they may not."""

import asyncio

import pytest

from meshkit.queue.port import UnroutableError
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.queue.rabbitmq_topology import RabbitmqBounds
from tests.contract.queues import Server
from tests.contract.rabbitmq import Proxy, raw, until
from tests.contract.test_queue import PATIENCE, Inbox, unheard

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
ACK = b"\x00\x3c\x00\x50"


async def test_a_listener_that_is_cut_off_is_told_within_a_second(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """A broadcast that the broker confirmed is heard, or known to be missed a second later, though no connection has ended."""
    heard, missed = Inbox(), asyncio.Event()
    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix) as queue,
        open_rabbitmq(rabbitmq.url, prefix=prefix) as other,
        queue.listen(["topic"], heard, missed=missed.set),
    ):
        proxy.flows.clear()
        for body in (b"1", b"2", b"3"):
            await other.publish("topic", body, mandatory=False)
            missed.clear()
            await asyncio.wait_for(missed.wait(), 1.5)
        assert heard.bodies == []
        proxy.flows.set()
        await heard.has(3)


async def test_a_listener_that_hears_is_not_told_that_it_misses(proxy: Proxy, prefix: str) -> None:
    """While messages come through, from the beginning and again after a time without, nothing is said to be missed."""
    misses: list[int] = []  # how much had been heard by then

    async def hears_for_seconds() -> bool:
        return proxy.sent.count(ACK) >= (misses[-1] if misses else 0) + 6  # of its own, several a second

    async def misses_some() -> bool:
        return len(misses) >= 3

    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix) as queue,
        queue.listen(["topic"], Inbox(), missed=lambda: misses.append(proxy.sent.count(ACK))),
    ):
        for _ in range(2):
            await until(hears_for_seconds)
            proxy.flows.clear()
            misses.clear()
            await until(misses_some)
            proxy.flows.set()


async def test_listeners_acknowledge_what_they_heard(proxy: Proxy, prefix: str) -> None:
    """A single message is acknowledged at once: the broker would end the channel of whoever leaves one for half an hour."""
    heard = Inbox()
    await proxy.open()
    async with open_rabbitmq(proxy.url, prefix=prefix) as queue, queue.listen(["topic"], heard, missed=unheard):
        await queue.publish("topic", b"", mandatory=False)
        await heard.has(1)

        async def acknowledged() -> bool:
            return ACK in proxy.sent

        await until(acknowledged)


async def test_a_listener_does_not_hide_that_the_work_queue_is_gone(rabbitmq: Server, prefix: str) -> None:
    """A mandatory message whose work queue was deleted comes back, though somebody listens to its topic."""
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        raw(rabbitmq) as channel,
        queue.listen(["topic"], Inbox(), missed=unheard),
    ):
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            await queue.publish("topic", b"routed")
        await channel.queue_delete(f"{prefix}.jobs")
        with pytest.raises(UnroutableError):
            await queue.publish("topic", b"lost")


async def test_what_a_listener_loses_at_the_broker_is_told(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """When the broker drops messages of a listener whose process stands still, the listener is told as soon as it goes on."""
    heard, missed = Inbox(), asyncio.Event()
    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix, bounds=RabbitmqBounds(listener=10)) as queue,
        raw(rabbitmq) as channel,
        queue.listen(["topic"], heard, missed=missed.set),
    ):
        proxy.flows.clear()
        for _ in range(1_500):
            await channel.basic_publish(b"", exchange=f"{prefix}.listen", routing_key="topic")
        assert not missed.is_set()
        proxy.flows.set()
        await asyncio.wait_for(missed.wait(), PATIENCE)
