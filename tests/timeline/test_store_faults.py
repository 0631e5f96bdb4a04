"""A server that is frozen, gone, loading, emptied, full, or refuses: feeds are right all the same, and soon fast again."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from meshkit.errors import UnavailableError
from meshkit.process import Child
from meshkit.sockets import free_port
from tests.timeline.faults import SOON, answers, frozen, is_back, seconds_of, until_passed_by
from tests.timeline.home import Home, World, fill
from tests.timeline.servers import client_of, until, valkey
from timeline_svc.redis_store import READ_SECONDS, RedisTimelineStore, home_key, open_redis


@dataclass
class Broken:
    """A feed over a server that may be broken, with a viewer whose timeline is there."""

    home: Home
    folder: Path
    port: int
    viewer: int
    authors: list[int]

    @property
    def store(self) -> RedisTimelineStore:
        """The store."""
        assert isinstance(self.home.store, RedisTimelineStore)
        return self.home.store

    async def post(self) -> None:
        """Publish a post that the server does not take."""
        post_id = self.home.commit(self.authors[0])
        with pytest.raises(UnavailableError):
            await self.home.deliver(post_id, self.authors[0])

    async def is_right(self) -> bool:
        """Read the feed to its end, and compare it with what is true."""
        return await self.home.walk(self.viewer, 20) == self.home.world.feed_of(self.viewer)

    async def answers(self) -> bool:
        """Tell whether the store reads the timeline."""
        return await answers(self.store, self.viewer)


@asynccontextmanager
async def feed_over(folder: Path, port: int, users: Iterator[int]) -> AsyncIterator[Broken]:
    """Put a feed over a server on a port, with the deadlines of the service."""
    async with open_redis(f"redis://127.0.0.1:{port}") as store:
        home = Home(store, World(), users)
        viewer, authors = home.community(3)
        fill(home, authors, 60)
        broken = Broken(home, folder, port, viewer, authors)
        assert await broken.is_right()
        assert (await store.read_home(viewer, 20)).window
        yield broken


@pytest.fixture
async def server_child(tmp_path: Path) -> AsyncIterator[tuple[Child, int]]:
    """Run a server of the test's own."""
    port = free_port()
    async with valkey(tmp_path, port) as child:
        yield child, port
        # Some of them could not end in order.
        child.process.kill()


@pytest.fixture
async def broken(server_child: tuple[Child, int], tmp_path: Path, users: Iterator[int]) -> AsyncIterator[Broken]:
    """Put a feed over it."""
    async with feed_over(tmp_path, server_child[1], users) as over:
        yield over


async def test_a_frozen_server_is_waited_for_a_few_times_only(broken: Broken, server_child: tuple[Child, int]) -> None:
    """The first reads wait for the deadline, the next not at all; each is right; the store is back by itself, as it was."""
    world = broken.home.world
    with frozen(server_child[0]):
        post_id = broken.home.commit(broken.authors[0])

        async def read() -> None:
            assert (await broken.home.page(broken.viewer))[0] == world.feed_of(broken.viewer)[:20]

        first = await until_passed_by(read)
        then = sorted([await seconds_of(read) for _ in range(20)])
        assert len(first) >= 5
        assert min(first) < READ_SECONDS + SOON
        # A machine that is so busy that the pause is over may need a probe.
        assert then[-3] < SOON
    await is_back(broken.store, broken.viewer)
    calls = world.calls["followees"]
    assert (await broken.home.page(broken.viewer))[0] == world.feed_of(broken.viewer)[1:21]
    assert world.calls["followees"] == calls
    await broken.home.deliver(post_id, broken.authors[0])
    assert await broken.is_right()


async def test_a_frozen_server_takes_one_reader_as_a_probe(broken: Broken, server_child: tuple[Child, int]) -> None:
    """Of many readers at once, while it is frozen for long, all but one go straight to the tables."""
    with frozen(server_child[0]):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(broken.is_right())

        async def once() -> bool:
            times = await asyncio.gather(*(seconds_of(broken.is_right) for _ in range(20)))
            slow = [each for each in times if each > READ_SECONDS / 2]
            assert len(slow) <= 1
            return bool(slow)

        await until(once)


async def test_a_server_that_dies_and_comes_back_empty(tmp_path: Path, users: Iterator[int]) -> None:
    """While nobody listens feeds come from the tables, with new posts; an empty server is filled by the next reads."""
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        async with valkey(tmp_path, port) as child:
            broken = await stack.enter_async_context(feed_over(tmp_path, port, users))
            os.kill(child.pid, signal.SIGKILL)
            await child.wait()
            await broken.post()
            assert await broken.is_right()
            assert not await broken.answers()
        async with valkey(tmp_path, port):
            await is_back(broken.store, broken.viewer)
            assert await broken.is_right()
            assert (await broken.store.read_home(broken.viewer, 20)).window
            await broken.home.publish(broken.authors[1])
            assert await broken.is_right()


async def test_an_emptied_server_is_filled_by_reads(broken: Broken) -> None:
    """FLUSHALL makes no feed short, and timelines come back."""
    async with client_of(broken.port) as redis:
        await redis.flushall()
        await broken.home.publish(broken.authors[0])
        assert await broken.is_right()
        assert await redis.exists(home_key(broken.viewer))


async def test_a_server_that_is_loading(tmp_path: Path, users: Iterator[int]) -> None:
    """A server that reads its data back in, and says so for a while, is passed by until it is done."""
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        async with valkey(tmp_path, port), client_of(port) as redis:
            broken = await stack.enter_async_context(feed_over(tmp_path, port, users))
            await redis.flushall()
            await redis.mset({f"filler{number}": "x" * 1_000 for number in range(2_000)})
            await redis.save()
        slowly = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "2048")
        async with valkey(tmp_path, port, *slowly), client_of(port) as redis:
            with pytest.raises(BusyLoadingError):
                await redis.get("filler0")
            await broken.post()
            assert await broken.is_right()
            with pytest.raises(BusyLoadingError):
                await redis.get("filler0")
            await until(broken.answers)
            assert await broken.is_right()
            assert (await broken.store.read_home(broken.viewer, 20)).window


async def test_a_full_server_gives_no_short_feed(broken: Broken) -> None:
    """What a server has no memory for is in the feed nevertheless; with room again all is as before."""
    async with client_of(broken.port) as redis:
        await redis.config_set("maxmemory", 1)
        for _ in range(10):
            await broken.home.publish(broken.authors[0])
            assert await broken.is_right()
        assert await broken.answers()
        await redis.config_set("maxmemory", 0)
        assert await broken.is_right()
        assert (await broken.store.read_home(broken.viewer, 20)).window


async def _replica(redis: Redis, _: Broken) -> None:
    await redis.replicaof("127.0.0.1", "1")


async def _unsaved(redis: Redis, broken: Broken) -> None:
    await redis.config_set("save", "3600 1")
    shutil.rmtree(broken.folder)
    await redis.bgsave()

    async def failed() -> bool:
        return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await until(failed)


async def _password(redis: Redis, _: Broken) -> None:
    await redis.config_set("requirepass", "secret")
    await redis.client_kill_filter(_type="normal", skipme=True)


async def _forbidden(redis: Redis, _: Broken) -> None:
    await redis.acl_setuser("default", commands=["-@scripting", "-expire"])


async def _lacking_replicas(redis: Redis, _: Broken) -> None:
    await redis.config_set("min-replicas-to-write", 1)


async def _too_many_clients(redis: Redis, _: Broken) -> None:
    await redis.config_set("maxclients", 1)
    await redis.client_kill_filter(_type="normal", skipme=True)


async def _in_a_script(redis: Redis, broken: Broken) -> None:
    await redis.config_set("busy-reply-threshold", 10)
    endless = asyncio.ensure_future(redis.eval("while true do end", 0))

    async def is_in_it() -> bool:
        return not await broken.answers()

    await until(is_in_it)
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless


REFUSALS = [_replica, _unsaved, _password, _forbidden, _lacking_replicas, _too_many_clients, _in_a_script]


@pytest.mark.parametrize("refuse", REFUSALS, ids=lambda refuse: refuse.__name__[1:])
async def test_a_server_that_refuses(broken: Broken, refuse: Callable[[Redis, Broken], Awaitable[None]]) -> None:
    """A server that answers, and takes no writes or nobody, may have missed posts: feeds are read past it, and miss none."""
    async with client_of(broken.port) as redis:
        await refuse(redis, broken)
        assert not await broken.answers()
        for _ in range(6):
            await broken.post()
            assert await broken.is_right()


async def test_an_answer_that_should_not_be_is_a_bug(broken: Broken) -> None:
    """A key of another type is not taken for a server that is away."""
    async with client_of(broken.port) as redis:
        await redis.delete(home_key(broken.viewer))
        await redis.lpush(home_key(broken.viewer), "x")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await broken.store.read_home(broken.viewer, 20)
