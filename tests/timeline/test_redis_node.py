"""One server's connections: what many calls at once, slow answers, and the ends of servers and connections do to each other."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from meshkit.sockets import free_port
from tests.timeline.faults import frozen
from tests.timeline.servers import until, valkey
from tests.timeline.wire import wire_to
from timeline_svc.breaker import CircuitOpenError
from timeline_svc.redis_link import CongestedError, StalledError
from timeline_svc.redis_node import PASSING, Command, Node, Script

MANY = 320
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
    """Make a command that the server answers when something is pushed to a key; what follows on the connection waits too."""
    return Command((key,), ("BLPOP", key, 0))


def echo(word: str) -> Command:
    """Make a command whose answer tells which one it is."""
    return Command((), ("ECHO", word))


async def run(node: Node, command: Command, seconds: float) -> object:
    """Run a command."""
    (answer,) = await node.run([command], asyncio.get_running_loop().time() + seconds)
    return answer


async def are_blocked(redis: Redis, clients: int) -> bool:
    """Tell whether the server keeps so many clients waiting."""
    return int((await redis.info("clients"))["blocked_clients"]) == clients


async def failed(node: Node, command: Command, calls: int) -> None:
    """Make some calls at once, all of which fail as when the server is away."""
    answers = await asyncio.gather(*(run(node, command, SHORT) for _ in range(calls)))
    assert all(isinstance(answer, PASSING) for answer in answers)


async def test_each_call_gets_its_own_answer(node: Node) -> None:
    """Of many calls at once, with several commands each, all get the answers to their own commands, in their order."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    answers = await asyncio.gather(*(node.run([echo(f"{call}a"), echo(f"{call}b")], deadline) for call in range(MANY)))
    assert answers == [[f"{call}a".encode(), f"{call}b".encode()] for call in range(MANY)]


async def test_an_answer_that_comes_too_late_is_nobodys(node: Node, redis: Redis) -> None:
    """After its deadline, or when nobody waits any more, a call's answer is dropped; the next calls get theirs."""
    assert isinstance(await run(node, waiting_for("late"), SHORT), TimeoutError)
    given_up = asyncio.ensure_future(run(node, waiting_for("given up"), PATIENCE))
    after = asyncio.ensure_future(run(node, echo("after"), PATIENCE))
    await asyncio.sleep(0)
    given_up.cancel()
    await redis.rpush("late", "x")
    await redis.rpush("given up", "x")
    assert await after == b"after"
    assert await run(node, echo("next"), PATIENCE) == b"next"


async def test_large_answers_come_whole(node: Node, redis: Redis) -> None:
    """An answer that needs many reads of the socket comes as it is, and so do small ones before and after."""
    large = os.urandom(5_000_000)
    await redis.set("large", large)
    deadline = asyncio.get_running_loop().time() + PATIENCE
    answers = await asyncio.gather(*(node.run([echo("a"), Command((), ("GET", "large")), echo("b")], deadline) for _ in range(3)))
    assert answers == [[b"a", large, b"b"]] * 3


async def test_calls_behind_others_blame_no_server(node: Node, redis: Redis) -> None:
    """Calls whose deadline passes while the server answers others that came before them do not open the circuit."""
    first = asyncio.ensure_future(run(node, waiting_for("first"), PATIENCE))
    await until(lambda: are_blocked(redis, 1))
    late = asyncio.ensure_future(failed(node, waiting_for("second"), 20))
    await asyncio.sleep(0)
    await redis.rpush("first", "x")
    assert await first == [b"first", b"x"]
    await late
    await redis.rpush("second", *range(20))
    assert await run(node, PING, PATIENCE) == b"PONG"


async def test_a_stalled_process_blames_no_server(single: str) -> None:
    """Deadlines that pass while this process does something else do not open the circuit."""
    async with wire_to(single) as (_, url), aclosing(Node(url, "server")) as node:
        assert await run(node, PING, PATIENCE) == b"PONG"
        calls = [asyncio.ensure_future(run(node, PING, SHORT)) for _ in range(20)]
        await asyncio.sleep(0)
        time.sleep(SHORT * 2)  # noqa: ASYNC251  # what stalls an event loop
        assert [type(answer) for answer in await asyncio.gather(*calls)] == [StalledError] * 20
        assert await run(node, PING, PATIENCE) == b"PONG"


async def test_there_is_an_end_to_what_may_be_under_way(node: Node, redis: Redis) -> None:
    """Behind some thousands of calls that wait, others fail at once, and blame no server; those that wait are answered."""
    first = asyncio.ensure_future(run(node, waiting_for("end"), PATIENCE))
    await until(lambda: are_blocked(redis, 1))
    waiting = [asyncio.ensure_future(run(node, PING, PATIENCE)) for _ in range(5_000)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await redis.rpush("end", "x")
    await first
    answers = await asyncio.gather(*waiting)
    refused = [answer for answer in answers if answer != b"PONG"]
    assert 0 < len(refused) < 1_000
    assert all(isinstance(answer, CongestedError) for answer in refused)
    assert await run(node, PING, PATIENCE) == b"PONG"


async def test_scripts_do_not_stand_before_reads(single: str, redis: Redis) -> None:
    """Reads have a connection of their own: one that stands still for a script's sake leaves them alone."""
    async with aclosing(Node(single, "server")) as node:
        script = waiting_for("script")._replace(script=Script("begin"))
        blocked = asyncio.ensure_future(run(node, script, PATIENCE))
        await until(lambda: are_blocked(redis, 1))
        assert await run(node, PING, PATIENCE) == b"PONG"
        await redis.rpush("script", "x")
        assert await blocked == [b"script", b"x"]


async def test_many_calls_do_not_hide_that_a_server_is_frozen(tmp_path: Path) -> None:
    """However many calls are under way, a server that answers nobody is left alone after one deadline."""
    port = free_port()
    async with valkey(tmp_path, port) as child, aclosing(Node(f"redis://127.0.0.1:{port}", "server")) as node:
        assert await run(node, PING, PATIENCE) == b"PONG"
        with frozen(child):
            await failed(node, PING, MANY)
            assert isinstance(await run(node, PING, PATIENCE), CircuitOpenError)


async def test_a_server_that_dies_fails_what_is_under_way_at_once(tmp_path: Path) -> None:
    """When the server is killed nobody waits for a deadline; another one in its place is found by the next call."""
    port = free_port()
    async with aclosing(Node(f"redis://127.0.0.1:{port}", "server")) as node:
        async with valkey(tmp_path, port) as child, Redis(port=port) as redis:
            calls = [asyncio.ensure_future(run(node, waiting_for("nothing"), PATIENCE)) for _ in range(3)]
            await until(lambda: are_blocked(redis, 1))
            os.kill(child.pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE / 2):
                assert [type(answer) for answer in await asyncio.gather(*calls)] == [RedisConnectionError] * 3
            await child.wait()
        async with valkey(tmp_path, port):
            assert await run(node, PING, PATIENCE) == b"PONG"


async def test_a_connection_with_nobody_at_its_end_is_given_up() -> None:
    """A peer that is gone without a word, as behind a dead router, is left: later calls use a new connection."""
    heard: list[int] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(0)
        mine = len(heard) - 1
        while data := await reader.read(1_000):
            heard[mine] += len(data)
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with aclosing(Node(f"redis://{host}:{port}", "server")) as node:

            async def came_again() -> bool:
                await run(node, PING, SHORT)
                return len(heard) > 1

            await until(came_again)
        assert heard[0] > 0
