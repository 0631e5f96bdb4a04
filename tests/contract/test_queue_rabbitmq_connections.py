"""RabbitMQ: connections that are lost, silent, refused, or never come about."""

import asyncio
import contextlib
import traceback
from urllib.parse import urlsplit

import aiormq
import pytest
from aiormq import spec
from structlog.testing import capture_logs

from meshkit.engines import open_queue
from meshkit.errors import UnavailableError
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.queue.rabbitmq_topology import RabbitmqBounds
from tests.contract.queues import Server
from tests.contract.rabbitmq import Proxy, publish_somehow, raw, until
from tests.contract.test_queue import PATIENCE, Gate, Inbox, unheard

# In the loop of the server's supervisor, which starts it again.
pytestmark = pytest.mark.asyncio(loop_scope="session")
TUNE_OK = b"\x00\x0a\x00\x1f"
QUEUE_DECLARE_OK = b"\x00\x32\x00\x0b"


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
