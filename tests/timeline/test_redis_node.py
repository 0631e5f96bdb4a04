"""One server's connections: when there are too many calls for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meshkit.sockets import free_port
from tests.timeline.faults import frozen
from tests.timeline.servers import until, valkey
from timeline_svc.breaker import CircuitOpenError
from timeline_svc.redis_node import PASSING, Command, Node

PLACES = 64
PATIENCE = 30.0
SHORT = 0.25
PING = Command((), ("PING",))


@pytest.fixture
async def node(single: str) -> AsyncIterator[Node]:
    """Open connections to a healthy server."""
    async with aclosing(Node(single, "server")) as opened:
        yield opened


@pytest.fixture
async def redis(single: str) -> AsyncIterator[Redis]:
    """Look into the server past the node."""
    async with Redis.from_url(single) as client:
        yield client


def waiting_for(key: str) -> Command:
    """Make a command that the server answers when something is pushed to a key; it answers others meanwhile."""
    return Command((key,), ("BLPOP", key, 0))


async def run(node: Node, command: Command, seconds: float) -> object:
    """Run a command."""
    (answer,) = await node.run([command], asyncio.get_running_loop().time() + seconds)
    return answer


@asynccontextmanager
async def all_places_taken(node: Node, redis: Redis, key: str) -> AsyncIterator[None]:
    """Have calls under way in all places that there are, each until something is pushed to a key, or the block ends."""

    async def are_taken() -> bool:
        return int((await redis.info("clients"))["blocked_clients"]) == PLACES

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(run(node, waiting_for(key), PATIENCE)) for _ in range(PLACES)]
        try:
            await until(are_taken)
            yield
        finally:
            for call in calls:
                call.cancel()


async def failed(node: Node, command: Command, calls: int) -> None:
    """Make some calls at once, all of which fail as when the server is away."""
    answers = await asyncio.gather(*(run(node, command, SHORT) for _ in range(calls)))
    assert all(isinstance(answer, PASSING) for answer in answers)


async def test_calls_that_find_no_place_blame_no_server(node: Node, redis: Redis) -> None:
    """While all places are taken calls fail at their deadline; as soon as they are free the server is asked again."""
    async with all_places_taken(node, redis, "no place"):
        await failed(node, PING, 20)
    assert await run(node, PING, PATIENCE) is True


async def test_calls_that_find_a_place_too_late_blame_no_server(node: Node, redis: Redis) -> None:
    """A call that waited for its place while others were answered, and has no time left for its own answer, does not count."""
    async with all_places_taken(node, redis, "late place"):
        late = asyncio.ensure_future(failed(node, waiting_for("nothing"), 20))
        await redis.rpush("late place", *range(20))
        await late
        assert await run(node, PING, PATIENCE) is True


async def test_too_many_calls_do_not_hide_that_a_server_is_frozen(tmp_path: Path) -> None:
    """However many calls wait for places, a server that answers nobody is left alone after one deadline."""
    port = free_port()
    async with valkey(tmp_path, port) as child, aclosing(Node(f"redis://127.0.0.1:{port}", "server")) as node:
        assert await run(node, PING, PATIENCE) is True
        with frozen(child):
            await failed(node, PING, 5 * PLACES)
            assert isinstance(await run(node, PING, PATIENCE), CircuitOpenError)
