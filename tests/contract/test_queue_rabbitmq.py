"""What RabbitMQ as a broker promises beyond the port: through its restarts, through lost connections and deleted queues."""

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiormq
import pytest
from aiormq import spec
from aiormq.abc import AbstractChannel
from pamqp.base import Frame
from pamqp.frame import marshal
from structlog.testing import capture_logs

from meshkit.engines import open_queue
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.queue.port import Message, Queue, UnroutableError
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.queue.rabbitmq_topology import KILLS_LIMIT, RabbitmqBounds
from meshkit.sockets import free_port
from meshkit.tracing import continued
from tests.contract.queues import Server, unique_prefix
from tests.contract.test_queue import PATIENCE, Gate, Inbox, unheard

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TUNE_OK = b"\x00\x0a\x00\x1f"
ACK = b"\x00\x3c\x00\x50"
QUEUE_DECLARE_OK = b"\x00\x32\x00\x0b"
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


async def publish_somehow(queue: Queue, body: bytes, *, mandatory: bool = True) -> None:
    """Publish as an outbox does: again and again."""

    async def published() -> bool:
        with contextlib.suppress(UnavailableError, UnroutableError, OverloadedError):
            await queue.publish("topic", body, mandatory=mandatory)
            return True
        return False

    await until(published)


class Proxy:
    """A way to the server that can be closed and opened, that keeps what clients sent, and that can put in a word of its own."""

    def __init__(self, server: Server) -> None:
        self._target = urlsplit(server.url)
        self._port = free_port()
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.url = self._target._replace(netloc=self._target.netloc.rpartition(":")[0] + f":{self._port}").geturl()
        self.sent = bytearray()
        self.flows = asyncio.Event()  # as long as it is set, answers go through
        self.flows.set()
        self.edits: dict[bytes, bytes] = {}  # what is to be replaced in either direction, as long as before
        self.swallow = b""  # the next answer with this in it is lost

    def say(self, frame: Frame, channel: int = 0) -> None:
        """Send something to all clients as if it came from the server, which has to be quiet."""
        for client in self._clients:
            client.write(marshal(frame, channel))

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
        self._clients.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, there_writer]
        self._clients.append(writer)
        await asyncio.gather(self._pipe(reader, there_writer, self.sent), self._pipe(there_reader, writer, bytearray()))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                seen += data
                if seen is not self.sent:
                    await self.flows.wait()
                for old, new in self.edits.items():
                    data = data.replace(old, new)
                if self.swallow and self.swallow in data and seen is not self.sent:
                    self.swallow = b""
                    continue
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
            await asyncio.wait_for(queue.publish("topic", b"early", mandatory=False), 2)
        with pytest.raises(UnavailableError):
            await queue.dead_letters("jobs")
        await asyncio.wait_for(missed.wait(), PATIENCE)
        await proxy.open()
        await publish_somehow(queue, b"late")
        await work.has(1)

        async def hears() -> bool:
            await publish_somehow(queue, b"heard", mandatory=False)
            return bool(heard.messages)

        await until(hears)
    assert b"early" not in work.bodies + heard.bodies


async def test_a_lost_connection_is_opened_again(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """The unfinished message comes again, but is not begun while it is still being handled; listeners are told every second."""
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
        for _ in range(3):
            await asyncio.wait_for(missed.wait(), 1.5)
            missed.clear()
        await until(ready)
        await proxy.open()
        await until(taken)
        await queue.dead_letters("jobs")  # by when that is answered, the delivery has come too
        assert (gate.held, gate.finished) == (1, 0)
        gate.open.set()
        await asyncio.wait_for(gate.entered.acquire(), PATIENCE)
    assert (gate.most, gate.finished) == (1, 2)


async def test_a_broker_that_stands_still_is_not_waited_for(proxy: Proxy, prefix: str) -> None:
    """Publishing and broadcasting to a broker that does not answer fail at their deadline, and go on later."""
    inbox = Inbox()
    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix, publish_seconds=0.3) as queue,
        queue.work("jobs", ["topic"], inbox, concurrency=1),
    ):
        proxy.flows.clear()
        for body, mandatory in ((b"1", True), (b"2", False)):
            with pytest.raises(UnavailableError, match="in time"):
                await asyncio.wait_for(queue.publish("topic", body, mandatory=mandatory), 2)
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


async def test_a_silent_connection_is_noticed_in_one_heartbeat(proxy: Proxy, prefix: str) -> None:
    """A connection on which nothing comes any more is given up soon after its heartbeat's time, and listeners are told."""
    missed = asyncio.Event()
    await proxy.open()
    async with (
        open_rabbitmq(f"{proxy.url}?heartbeat=2", prefix=prefix) as queue,
        queue.listen(["topic"], Inbox(), missed=missed.set),
    ):
        proxy.flows.clear()
        await asyncio.wait_for(missed.wait(), 7)
        proxy.flows.set()


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


async def test_nothing_is_written_while_the_broker_is_short_of_memory(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """A blocked connection takes no tries of a message, which would all be delivered later; it goes on when it is unblocked."""
    inbox = Inbox()
    await proxy.open()
    async with (
        open_rabbitmq(rabbitmq.url, prefix=prefix) as consuming,
        consuming.work("jobs", ["topic"], inbox, concurrency=1),
        open_rabbitmq(proxy.url, prefix=prefix, publish_seconds=0.3) as queue,
    ):
        await queue.publish("topic", b"before")
        proxy.say(spec.Connection.Blocked("low on memory"))
        with capture_logs():

            async def blocked() -> bool:
                with contextlib.suppress(UnavailableError):
                    await queue.publish("topic", b"noticing")
                    return False
                return True

            await until(blocked)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await queue.publish("topic", b"try")
        proxy.say(spec.Connection.Unblocked())
        await publish_somehow(queue, b"after")

        async def came() -> bool:
            return b"after" in inbox.bodies

        await until(came)
    assert b"try" not in inbox.bodies
    assert b"before" in inbox.bodies


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


async def test_why_a_channel_ended_is_logged(proxy: Proxy, prefix: str) -> None:
    """When the broker ends a listener's channel the log has its reason, the listener is told, and it hears again."""
    heard, missed = Inbox(), asyncio.Event()
    await proxy.open()
    async with (
        open_rabbitmq(proxy.url, prefix=prefix) as queue,
        queue.listen(["topic"], heard, missed=missed.set),
    ):
        with capture_logs() as logs:
            proxy.say(spec.Channel.Close(406, "PRECONDITION_FAILED - acknowledgement timed out", 0, 0), channel=1)
            await asyncio.wait_for(missed.wait(), PATIENCE)

            async def hears() -> bool:
                await publish_somehow(queue, b"", mandatory=False)
                return bool(heard.messages)

            await until(hears)
    [reason] = [log["error"] for log in logs if log["event"] == "rabbitmq.channel_ended" and log["connection"].endswith("listener")]
    assert "acknowledgement timed out" in reason


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


async def test_a_setup_that_is_not_answered_is_begun_anew(proxy: Proxy, prefix: str) -> None:
    """When the broker does not answer while a consumer is set up, the consumer gives that up after 10 seconds, and tries again."""
    inbox = Inbox()
    await proxy.open()
    async with open_rabbitmq(proxy.url, prefix=prefix) as queue:
        proxy.swallow = QUEUE_DECLARE_OK
        async with queue.work("jobs", ["topic"], inbox, concurrency=1):
            assert not proxy.swallow
            await publish_somehow(queue, b"job")
            await inbox.has(1)


async def test_a_refused_queue_is_not_taken_for_one_that_differs(rabbitmq: Server, prefix: str) -> None:
    """What the broker refuses to declare is logged as its refusal; a queue that is there with other arguments is used."""
    with capture_logs() as logs:
        async with (
            open_rabbitmq(rabbitmq.url, prefix=prefix, bounds=RabbitmqBounds(messages=-1)) as queue,
            queue.work("jobs", ["topic"], Inbox(), concurrency=1),
        ):
            pass
    assert "rabbitmq.queue_differs" not in [log["event"] for log in logs]
    assert any("x-max-length" in str(log.get("error")) for log in logs)
    inbox = Inbox()
    with capture_logs() as logs:
        async with open_rabbitmq(rabbitmq.url, prefix=prefix) as queue, queue.work("jobs", ["topic"], inbox, concurrency=1):
            pass
        async with (
            open_rabbitmq(rabbitmq.url, prefix=prefix, bounds=RabbitmqBounds(messages=7)) as queue,
            queue.work("jobs", ["topic"], inbox, concurrency=1),
        ):
            await queue.publish("topic", b"job")
            await inbox.has(1)
    assert "rabbitmq.queue_differs" in [log["event"] for log in logs]


async def test_an_old_broker_is_refused(rabbitmq: Server, proxy: Proxy, prefix: str) -> None:
    """A broker before 3.10, whose quorum queues know no time to live, is not used, and the log says so."""
    async with aiormq.connect(rabbitmq.url) as connection:
        version = str(connection.server_properties["version"]).encode()
    proxy.edits[b"versionS" + len(version).to_bytes(4) + version] = (
        b"versionS" + len(version).to_bytes(4) + b"3.9.9".ljust(len(version))
    )
    await proxy.open()
    with capture_logs() as logs:
        async with open_rabbitmq(proxy.url, prefix=prefix) as queue:
            with pytest.raises(UnavailableError):
                await queue.publish("topic", b"", mandatory=False)
    assert any("3.10 or later is needed" in str(log.get("error")) for log in logs)


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


async def test_private_queues_are_classic_by_name(proxy: Proxy, prefix: str) -> None:
    """The queues of a listener name their type: where a virtual host's default is another, they could not be private."""
    await proxy.open()
    async with open_rabbitmq(proxy.url, prefix=prefix) as queue, queue.listen(["topic"], Inbox(), missed=unheard):
        pass
    assert bytes(proxy.sent).count(b"x-queue-typeS\x00\x00\x00\x07classic") == 2


@pytest.mark.parametrize(
    "url", ["amqp://user:se#cret@host/", "amqp://user:12/cret@host/", "amqp://user:12?cret@host/", "amqp://[cret/"]
)
async def test_a_wrong_url_is_not_repeated(url: str) -> None:
    """A URL whose password was not quoted is refused without any part of it in the error or its causes."""
    with pytest.raises(ValueError, match="%23") as refused:
        open_queue(url)
    assert "cret" not in "".join(traceback.format_exception(refused.value)).replace(url, "")


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
            await channel.basic_publish(b"", exchange=f"{prefix}.listen", routing_key="topic")
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
