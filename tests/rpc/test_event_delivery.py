"""Events of acknowledged changes arrive, whatever happens between the commit and the broker."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
from feed.event.v1 import event_pb2
from feed.post.v1 import post_service_pb2_grpc

import post_svc.__main__ as post
from meshkit.ids import IdGenerator
from meshkit.lifecycle import background
from meshkit.outbox import Outbox
from meshkit.process import child
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Message
from meshkit.rpc.server import serving
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite
from meshkit.topics import POST_CREATED
from post_svc.attachments import Attachments
from post_svc.delivery_rows import DeliveryRepository
from post_svc.events import encode
from post_svc.media_rows import MediaRepository
from post_svc.posts import PostRepository
from post_svc.reading import PostReader
from post_svc.service import PostService
from post_svc.servicer import PostServicer
from post_svc.turned import TurnedAuthors
from tests.rpc.client import PATIENCE, Tokens, post_settings, stubs, until
from tests.rpc.inbox import Inbox
from tests.rpc.nobody import Nobody
from tests.rpc.post_calls import Posts
from tests.rpc.probes import answers

ADA = 11
Common = dict[str, object]


@asynccontextmanager
async def quick_service(
    common: Common, queue: MemoryQueue, tokens: Tokens, *, sweep_age: float = 0
) -> AsyncIterator[tuple[Posts, Outbox]]:
    """Run a post service whose sweeper hardly waits. With an age of 0 it may tell an event again that is just being removed."""
    settings = post_settings(common)
    async with open_sqlite(settings.data_dir / "posts.db") as table:
        outbox = Outbox(table, queue, sweep_seconds=0.01, sweep_age=sweep_age)
        attachments = Attachments(MediaRepository(table), "https://media.test")
        written = PostService(
            table, IdGenerator(1), outbox, encode, attachments, Nobody(), TurnedAuthors(DeliveryRepository(table))
        )
        servicer = PostServicer(written, PostReader(PostRepository(table), Nobody()), settings.page_tokens())
        register = partial(post_service_pb2_grpc.add_PostServiceServicer_to_server, servicer)
        listen = settings.listen(settings.post_listen)
        async with (
            background(outbox.run()),
            serving(listen, settings.user_tokens(), settings.service_tokens("post"), post.DESCRIPTORS, register) as address,
            stubs(address) as connected,
        ):
            yield Posts(connected, tokens), outbox


def told(inbox: Inbox) -> list[int]:
    """Give the ids of the posts that an inbox was told of."""
    return [event_pb2.Event.FromString(body).post_created.post_id for body in inbox.bodies]


async def nothing_waits(outbox: Outbox) -> None:
    """Wait until the outbox is empty."""

    async def empty() -> bool:
        return await outbox.waiting_count() == 0

    await until(empty)


async def test_sent_events_are_removed(common: Common, queue: MemoryQueue, tokens: Tokens) -> None:
    """Each of many posts is told once to every queue, and then nothing is left in the outbox."""
    one, other = Inbox(), Inbox()
    async with (
        queue.work("one", [POST_CREATED], one, concurrency=8),
        queue.work("other", [POST_CREATED], other, concurrency=1),
        quick_service(common, queue, tokens, sweep_age=60) as (posts, outbox),
    ):
        made = [each.post_id for each in await asyncio.gather(*(posts.create(ADA) for _ in range(100)))]
        await nothing_waits(outbox)
        assert sorted(told(one)) == sorted(told(other)) == sorted(made)


async def test_events_wait_for_a_consumer(common: Common, queue: MemoryQueue, tokens: Tokens) -> None:
    """Without a consumer a post is acknowledged all the same; its event waits in the table for the first one that comes."""
    inbox = Inbox()
    async with quick_service(common, queue, tokens) as (posts, outbox):
        made = [(await posts.create(ADA)).post_id for _ in range(3)]
        assert await outbox.waiting_count() == 3
        async with queue.work("late", [POST_CREATED], inbox, concurrency=4):
            await inbox.wait_for(lambda bodies: len(bodies) >= 3)
            await nothing_waits(outbox)
    assert sorted(set(told(inbox))) == made


async def test_a_crash_after_the_commit_is_swept_up(common: Common, queue: MemoryQueue, tokens: Tokens) -> None:
    """What a process committed and never sent, the next one on the same folder sends; what it did send, it does not send again."""
    before, after = Inbox(), Inbox()
    async with (
        quick_service(common, queue, tokens) as (posts, outbox),
        queue.work("mortal", [POST_CREATED], before, concurrency=1),
    ):
        sent = (await posts.create(ADA)).post_id
        await nothing_waits(outbox)
    async with MemoryQueue() as nobody_there, quick_service(common, nobody_there, tokens) as (posts, _outbox):
        unsent = [(await posts.create(ADA)).post_id for _ in range(3)]
    async with (
        queue.work("mortal", [POST_CREATED], after, concurrency=1),
        quick_service(common, queue, tokens) as (posts, outbox),
    ):
        await after.wait_for(lambda bodies: len(bodies) >= 3)
        await nothing_waits(outbox)
    assert set(told(before)) == {sent}
    assert sorted(set(told(after))) == unsent


async def test_a_consumer_that_fails_for_good_gets_the_event_again(common: Common, queue: MemoryQueue, tokens: Tokens) -> None:
    """An event that ended as a dead letter is not sent: it stays in the table, and is told again until a consumer takes it."""
    refusals = iter(range(5))

    class Moody(Inbox):
        async def __call__(self, message: object) -> None:
            if next(refusals, None) is not None:
                raise ValueError("not now")
            await super().__call__(message)  # type: ignore[arg-type]

    inbox = Moody()
    async with (
        queue.work("moody", [POST_CREATED], inbox, concurrency=1, delivery_limit=2),
        quick_service(common, queue, tokens) as (posts, outbox),
    ):
        made = await posts.create(ADA)
        await inbox.wait_for(lambda bodies: len(bodies) >= 1)
        await nothing_waits(outbox)
    assert set(told(inbox)) == {made.post_id}


def free_port() -> int:
    """Give a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_no_acknowledged_event_is_lost_by_sigkill(common: Common, tmp_path: Path, tokens: Tokens) -> None:
    """A process that is killed while it acknowledges leaves every post with its event, which the next process sends."""
    address = f"127.0.0.1:{free_port()}"
    folder = post_settings(common).data_dir
    env = os.environ | {"FEEDMESH_DATA_DIR": str(folder), "FEEDMESH_POST_LISTEN": address, "GRPC_ENABLE_FORK_SUPPORT": "0"}

    command = [sys.executable, "-m", "post_svc"]
    async with (
        child(
            command, name="post_svc", log=tmp_path / "log", ready=partial(answers, address), ready_timeout=PATIENCE, env=env
        ) as process,
        stubs(address) as connected,
    ):
        acknowledged = await _post_until_killed(Posts(connected, tokens), process.pid)
        assert await process.wait() == -signal.SIGKILL
    async with open_sqlite(folder / "posts.db") as table, MemoryQueue() as queue:
        kept = {each.post_id for each in await PostRepository(table).get_many(sorted(acknowledged))}
        assert kept == acknowledged
        swept = await _swept(table, queue, acknowledged)
        # Also what was not acknowledged any more is there with its event, or not at all.
        assert set(await PostRepository(table).ids_by_author(ADA, before=None, limit=100_000)) == swept


async def _post_until_killed(posts: Posts, pid: int) -> set[int]:
    """Post as fast as it goes, kill the process right after an acknowledgement, and give what was acknowledged."""
    acknowledged: set[int] = set()

    async def post_on() -> None:
        while True:
            try:
                acknowledged.add((await posts.create(ADA)).post_id)
            except grpc.aio.AioRpcError:
                return
            if len(acknowledged) == 100:
                os.kill(pid, signal.SIGKILL)

    await asyncio.gather(*(post_on() for _ in range(16)))
    return acknowledged


async def _swept(table: Table, queue: MemoryQueue, wanted: set[int]) -> set[int]:
    """Send what the outbox holds, and give the posts that were told."""
    inbox = Inbox()
    outbox = Outbox(table, queue, sweep_seconds=0.01, sweep_age=0)
    async with queue.work("heir", [POST_CREATED], inbox, concurrency=8), background(outbox.run()):
        await inbox.wait_for(lambda _bodies: wanted <= set(told(inbox)))
        await nothing_waits(outbox)
    return set(told(inbox))


async def test_a_service_that_stops_sends_what_its_last_calls_committed(common: Common, queue: MemoryQueue, tokens: Tokens) -> None:
    """After an orderly stop nothing that was acknowledged waits for another process, even if it was under way at the end."""
    inbox, gate = Inbox(), asyncio.Event()

    async def slow(message: Message) -> None:
        await gate.wait()
        await inbox(message)

    settings = post_settings(common)
    async with queue.work("slow", [POST_CREATED], slow, concurrency=1):
        async with post.running(settings, queue) as address, stubs(address) as connected:
            posts = Posts(connected, tokens)
            made = [each.post_id for each in await asyncio.gather(*(posts.create(ADA) for _ in range(50)))]
            asyncio.get_running_loop().call_later(0.5, gate.set)  # by then no call is left, and the server has stopped
        async with open_sqlite(settings.data_dir / "posts.db") as table:
            assert await Outbox(table, queue).waiting_count() == 0
    assert sorted(told(inbox)) == sorted(made)
