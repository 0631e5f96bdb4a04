"""What RabbitMQ as a broker promises beyond the port: through its restarts, through lost connections and deleted queues."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from structlog.testing import capture_logs

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.queue.port import Message, Queue, UnroutableError
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.queue.rabbitmq_topology import KILLS_LIMIT, RabbitmqBounds
from meshkit.sockets import free_port
from meshkit.tracing import continued
from tests.contract.queues import Server, unique_prefix
from tests.contract.test_queue import PATIENCE, Gate, Inbox

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TUNE_OK = b"\x00\x0a\x00\x1f"
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


@pytest.fixture
def prefix() -> str:
    """Give the test names of its own."""
    return unique_prefix()


@asynccontextmanager
async def raw(server: Server) -> AsyncIterator[AbstractChannel]:
    """Open a channel past the engine."""
    async with aiormq.connect(server.url) as connection:
        yield await connection.channel()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds that nobody announces."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - there is nothing to wait for but the condition
            await asyncio.sleep(0.02)


async def publish_somehow(queue: Queue, body: bytes) -> None:
    """Publish as an outbox does: again and again."""

    async def published() -> bool:
        with contextlib.suppress(UnavailableError, UnroutableError, OverloadedError):
            await queue.publish("topic", body)
            return True
        return False

    await until(published)


class Proxy:
    """A way to the server that can be closed and opened, and that keeps what clients sent."""

    def __init__(self, server: Server) -> None:
        self._target = urlsplit(server.url)
        self._port = free_port()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.url = self._target._replace(netloc=self._target.netloc.rpartition(":")[0] + f":{self._port}").geturl()
        self.sent = bytearray()
        self.flows = asyncio.Event()  # as long as it is set, answers go through
        self.flows.set()

    async def open(self) -> None:
        """Let clients through."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self._port)

    async def cut(self) -> None:
        """End all connections, and take no new ones."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, there_writer]
        await asyncio.gather(self._pipe(reader, there_writer, self.sent), self._pipe(there_reader, writer, bytearray()))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                seen += data
                if seen is not self.sent:
                    await self.flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(rabbitmq: Server) -> AsyncIterator[Proxy]:
    """Give a way to the server that is closed at first."""
    way = Proxy(rabbitmq)
    yield way
    await way.cut()


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


async def test_a_full_queue_refuses(rabbitmq: Server, prefix: str) -> None:
    """A queue at its bound refuses, keeps what it has, and takes more when it is consumed."""
    bounds = RabbitmqBounds(messages=10)
    async with open_rabbitmq(rabbitmq.url, prefix=prefix, bounds=bounds) as queue:
        async with queue.work("jobs", ["topic"], Inbox(), concurrency=1):
            pass
        outcomes = await asyncio.gather(*(queue.publish("topic", b"") for _ in range(100)), return_exceptions=True)
        taken = outcomes.count(None)
        assert {type(outcome) for outcome in outcomes} == {type(None), OverloadedError}
        assert 10 <= taken < 100
        inbox = Inbox()
        async with queue.work("jobs", ["topic"], inbox, concurrency=4):
            await inbox.has(taken)
            await publish_somehow(queue, b"more")
            await inbox.has(taken + 1)


@pytest.mark.parametrize("deleted", ["queue", "exchange"])
async def test_what_is_deleted_is_declared_again(rabbitmq: Server, prefix: str, deleted: str) -> None:
    """After an operator deleted a work queue or the exchange, messages arrive again by themselves."""
    inbox = Inbox()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as queue,
        raw(rabbitmq) as channel,
        queue.work("jobs", ["topic"], inbox, concurrency=1),
    ):
        if deleted == "queue":
            await channel.queue_delete(f"{prefix}.jobs")
        else:
            await channel.exchange_delete(f"{prefix}.work")
            with contextlib.suppress(UnroutableError):  # the exchange is there again at once, its bindings within seconds
                await queue.publish("topic", b"first")
        await publish_somehow(queue, b"after")
        await inbox.has(1)


async def test_a_service_starts_without_the_broker(proxy: Proxy, prefix: str) -> None:
    """Work and listening begin without the broker; when it comes they are attached, and listeners know that they missed some."""
    work, heard, missed = Inbox(), Inbox(), asyncio.Event()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix) as queue,
        queue.work("jobs", ["topic"], work, concurrency=1),
        queue.listen(["topic"], heard, missed=missed.set),
    ):
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(queue.publish("topic", b"early"), 2)
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(queue.publish("topic", b"early", mandatory=False), 0.1)
        with pytest.raises(UnavailableError):
            await queue.dead_letters("jobs")
        assert not missed.is_set()
        await proxy.open()
        await asyncio.wait_for(missed.wait(), PATIENCE)
        await publish_somehow(queue, b"late")
        await work.has(1)
        await heard.has(1)
    assert work.bodies == [b"late"]


async def test_a_lost_connection_is_opened_again(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """The unfinished message comes again, but is not begun while it is still being handled; listeners are told when it is back."""
    gate, missed = Gate(), asyncio.Event()
    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix) as queue,
        raw(rabbitmq) as channel,
        queue.listen(["topic"], Inbox(), missed=missed.set),
        queue.work("jobs", ["topic"], gate, concurrency=1),
    ):

        async def ready() -> bool:
            found = await channel.basic_get(f"{prefix}.jobs")
            if found.delivery_tag:
                await channel.basic_nack(found.delivery_tag)
            return bool(found.delivery_tag)

        async def taken() -> bool:
            return not await ready()

        await queue.publish("topic", b"job")
        await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
        await proxy.cut()
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(queue.publish("topic", b"job"), 2)
        await until(ready)
        assert not missed.is_set()
        await proxy.open()
        await asyncio.wait_for(missed.wait(), PATIENCE)
        await until(taken)
        await queue.dead_letters("jobs")  # its answer comes after the delivery, on the same connection
        assert (gate.held, gate.finished) == (1, 0)
        gate.open.set()
        await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
    assert (gate.most, gate.finished) == (1, 2)


async def test_a_broker_that_stands_still_is_not_waited_for(proxy: Proxy, prefix: str) -> None:
    """Publishing to a broker that does not answer fails at its deadline, broadcasting returns at once, and both go on later."""
    inbox = Inbox()
    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix, publish_seconds=0.3) as queue,
        queue.work("jobs", ["topic"], inbox, concurrency=1),
    ):
        proxy.flows.clear()
        with pytest.raises(UnavailableError, match="in time"):
            await asyncio.wait_for(queue.publish("topic", b"1"), 2)
        await asyncio.wait_for(queue.publish("topic", b"2", mandatory=False), 0.1)
        proxy.flows.set()
        await publish_somehow(queue, b"3")
        await inbox.has(3)
    assert set(inbox.bodies) == {b"1", b"2", b"3"}


async def test_heartbeats_come_every_ten_seconds(proxy: Proxy, prefix: str) -> None:
    """Both connections agree with the broker on a heartbeat of 10 seconds."""
    await proxy.open()
    async with open_rabbitmq(proxy.url, prefix=prefix) as queue, queue.work("jobs", ["topic"], Inbox(), concurrency=1):
        pass
    starts = [part[6:8] for part in bytes(proxy.sent).split(TUNE_OK)[1:]]
    assert starts == [(10).to_bytes(2)] * 2


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

                await until(all_dead)
                assert await queue.redrive("jobs") == 250
                await until(all_dead)
        assert await queue.redrive("jobs") == 250
        inbox = Inbox()
        async with queue.work("jobs", ["topic"], inbox, concurrency=50):
            await inbox.has(250)
    assert {message.delivery for message in inbox.messages} == {1}
    assert len(set(inbox.bodies)) == len(inbox.bodies) == 250


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
            await channel.basic_publish(b"", exchange=f"{prefix}.broadcast", routing_key="topic")
        assert not missed.is_set()
        proxy.flows.set()
        await asyncio.wait_for(missed.wait(), PATIENCE)


async def test_a_wrong_password_is_told_and_not_shown(
    rabbitmq: Server, prefix: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Wrong credentials are named as the cause, and nothing that is logged holds the password."""
    parts = urlsplit(rabbitmq.url)
    wrong = parts._replace(netloc=f"feedmesh:hidden-word@127.0.0.1:{parts.port}").geturl()
    with capture_logs() as logs:
        async with open_rabbitmq(wrong, prefix=prefix) as queue:
            with pytest.raises(UnavailableError):
                await queue.publish("topic", b"")
    assert any("password" in str(log.get("hint")) for log in logs)
    output = capfd.readouterr()
    assert "hidden-word" not in f"{logs}{output.out}{output.err}{caplog.text}"


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
