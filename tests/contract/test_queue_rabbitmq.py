"""RabbitMQ as a broker, beyond the port: what it has confirmed survives restarts, and what is deleted is declared again."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from meshkit.errors import UnavailableError
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.queue.port import Message, Queue, UnroutableError
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.tracing import continued
from tests.contract.queues import Server
from tests.contract.rabbitmq import publish_somehow, raw, until
from tests.contract.test_queue import PATIENCE, Inbox

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Load:
    """Publishes without end, and knows what was confirmed and how long refusals took."""

    def __init__(self, queue: Queue) -> None:
        self.confirmed: set[bytes] = set()
        self.slowest_refusal = 0.0
        self.refusals = 0
        self._queue = queue
        self._numbers = iter(range(1_000_000))

    async def run(self) -> None:
        """Publish one message after the other."""
        loop = asyncio.get_running_loop()
        while True:
            body = b"%d" % next(self._numbers)
            began = loop.time()
            try:
                await self._queue.publish("topic", body)
            except UnavailableError:
                self.refusals += 1
                self.slowest_refusal = max(self.slowest_refusal, loop.time() - began)
                await asyncio.sleep(0.05)
            else:
                self.confirmed.add(body)

    async def refused(self) -> None:
        """Wait until one more is refused: an orderly stop takes its time."""
        before = self.refusals

        async def more() -> bool:
            return self.refusals > before

        await until(more)

    async def more(self, number: int) -> None:
        """Wait until so many more are confirmed."""
        goal = len(self.confirmed) + number

        async def enough() -> bool:
            return len(self.confirmed) >= goal

        await until(enough, 60)


async def test_restarts_lose_nothing_that_was_confirmed(rabbitmq: Server, prefix: str) -> None:
    """Through an orderly restart and a crash under load every confirmed message is handled, refusals come fast, listeners learn."""
    handled: set[bytes] = set()
    missed = asyncio.Event()

    async def handle(message: Message) -> None:
        handled.add(message.body)

    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        queue.listen(["topic"], Inbox(), missed=missed.set),
        queue.work("jobs", ["topic"], handle, concurrency=16),
    ):
        load = Load(queue)
        publishers = [asyncio.create_task(load.run()) for _ in range(8)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            await load.more(200)
            missed.clear()
            os.kill(rabbitmq.pid, number)
            await load.refused()
            await load.more(200)
            await asyncio.wait_for(missed.wait(), PATIENCE)
        for publisher in publishers:
            publisher.cancel()
        await asyncio.wait(publishers)

        async def all_handled() -> bool:
            return load.confirmed <= handled

        await until(all_handled)
        assert await queue.dead_letters("jobs") == []
    assert load.slowest_refusal < 2


async def test_a_publish_returns_after_the_confirm(rabbitmq: Server, prefix: str) -> None:
    """What publish returned for lies in the work queue, persistent, with its topic and its trace in the header."""
    async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue, raw(rabbitmq) as channel:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass
        with continued(TRACE):
            await queue.publish("topic", b"body")
        found = await channel.basic_get(f"{prefix}.jobs")
    properties = found.header.properties
    assert (found.body, properties.delivery_mode, properties.message_type) == (b"body", 2, "topic")
    assert properties.headers
    assert properties.headers["traceparent"] == TRACE


@pytest.mark.parametrize("deleted", ["queue", "exchange"])
async def test_what_is_deleted_is_declared_again(rabbitmq: Server, prefix: str, deleted: str) -> None:
    """After an operator deleted a work queue or the exchanges, messages arrive again by themselves, and listeners know of it."""
    inbox, heard, missed = Inbox(), Inbox(), asyncio.Event()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        raw(rabbitmq) as channel,
        queue.listen(["topic"], heard, missed=missed.set),
        queue.work("jobs", ["topic"], inbox, concurrency=1),
    ):
        if deleted == "queue":
            await channel.queue_delete(f"{prefix}.jobs")
        else:
            await channel.exchange_delete(f"{prefix}.work")
            await channel.exchange_delete(f"{prefix}.listen")
            # The exchanges are there again at once, their bindings within seconds.
            with contextlib.suppress(UnroutableError):
                await queue.publish("topic", b"first")
            await queue.publish("topic", b"lost", mandatory=False)
            await asyncio.wait_for(missed.wait(), PATIENCE)
        await publish_somehow(queue, b"after")
        await inbox.has(1)

        async def hears() -> bool:
            await publish_somehow(queue, b"heard", mandatory=False)
            return bool(heard.messages)

        await until(hears)
    assert b"lost" not in heard.bodies


async def test_the_servers_secrets_are_private(rabbitmq: Server) -> None:
    """Nobody else may read the password, the configuration that holds it, or the cookie; the password is not the usual one."""
    home: Path = rabbitmq.folder / "rabbitmq"
    for name in ("password", "rabbitmq.conf", ".erlang.cookie"):
        assert (home / name).stat().st_mode & 0o077 == 0
    assert len(urlsplit(rabbitmq.url).password or "") > 20


async def test_a_later_server_finds_its_data_again(rabbitmq: Server, tmp_path: Path, prefix: str) -> None:
    """A server that was stopped and started in its folder has its messages, whatever other servers run, and leaves no process."""
    inbox = Inbox()
    async with private_rabbitmq(tmp_path) as url, open_rabbitmq(url, prefix=prefix) as queue:
        async with queue.work("jobs", ["topic"], inbox, concurrency=1):
            pass
        await queue.publish("topic", b"kept")
        pid = Server(url, tmp_path).pid
    assert pid != rabbitmq.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    async with (
        private_rabbitmq(tmp_path) as again,
        open_rabbitmq(again, prefix=prefix) as queue,
        queue.work("jobs", ["topic"], inbox, concurrency=1),
    ):
        await inbox.has(1)
    assert inbox.bodies == [b"kept"]
