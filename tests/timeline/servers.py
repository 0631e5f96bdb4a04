"""Servers that tests may break: single ones with any options, and clusters of three masters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from meshkit.process import Child, child
from meshkit.sockets import free_port
from meshkit.valkey import server_binary
from timeline_svc.redis_store import RedisTimelineStore, open_redis
from timeline_svc.redis_url import RedisUrl

_MASTERS = 3
_SLOTS = 16_384
_POLL_SECONDS = 0.02
# On a machine that is busy with other tests a healthy server may take longer than a reader would wait.
_PATIENCE = 10.0


def client_of(port: int) -> Redis:
    """Make a client of a server on the loopback address that tries everything once."""
    return Redis(port=port, retry=Retry(NoBackoff(), 0))


def valkey(folder: Path, port: int, *options: str) -> AbstractAsyncContextManager[Child]:
    """Run a server on a port of the loopback address for the length of a block, which begins when it answers, if only LOADING."""

    async def answers() -> bool:
        async with client_of(port) as redis:
            try:
                return bool(await redis.ping())
            except BusyLoadingError:
                return True
            except (RedisError, OSError):
                return False

    flags = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options)
    return child([server_binary(), *flags], name=f"Valkey {port}", log=folder / f"valkey-{port}.log", ready=answers)


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """Three masters without replicas, each with a third of the slots: its servers by port."""

    url: str
    nodes: dict[int, Child]


@asynccontextmanager
async def running_cluster(folder: Path, announced: Sequence[int] = ()) -> AsyncIterator[RunningCluster]:
    """Run a cluster for the length of a block. Its servers name themselves by the announced ports, if there are any.

    A master that is away takes its own slots with it, and no others.
    """
    places = [_Place(free_port(), free_port(), number) for number in range(_MASTERS)]
    async with AsyncExitStack() as stack:
        nodes: dict[int, Child] = {}
        for place in places:
            (own := folder / str(place.port)).mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-port", str(place.bus), "--cluster-node-timeout", "2000"]
            options += ["--cluster-require-full-coverage", "no"]
            options += ["--cluster-announce-port", str(announced[place.number])] if announced else []
            nodes[place.port] = await stack.enter_async_context(valkey(own, place.port, *options))
        await _join(places)
        yield RunningCluster(f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in announced or nodes)}", nodes)


@asynccontextmanager
async def private_cluster(folder: Path) -> AsyncIterator[str]:
    """Run a cluster for the length of a block and give its URL."""
    async with running_cluster(folder) as cluster:
        yield cluster.url


def look_into(url: str) -> Redis | RedisCluster:
    """Make a client that looks into the servers past the store; close it in the end."""
    parsed = RedisUrl.parse(url)
    if parsed.seeds:
        return RedisCluster(startup_nodes=[ClusterNode(seed.host, seed.port) for seed in parsed.seeds])
    return Redis.from_url(url)


async def everywhere(client: Redis | RedisCluster, *words: str | int) -> None:
    """Send a command that is not about keys to every server."""
    if isinstance(client, RedisCluster):
        await client.execute_command(*words, target_nodes=RedisCluster.ALL_NODES)
    else:
        await client.execute_command(*words)  # type: ignore[no-untyped-call]


class _Place(NamedTuple):
    """A master's port, its port for the other masters, and its number."""

    port: int
    bus: int
    number: int


async def _join(places: list[_Place]) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(place.port)) for place in places]
        for place, client in zip(places, clients, strict=True):
            first, after = place.number * _SLOTS // _MASTERS, (place.number + 1) * _SLOTS // _MASTERS
            await cluster_command(client, "ADDSLOTSRANGE", first, after - 1)
            await cluster_command(client, "SET-CONFIG-EPOCH", place.number + 1)
            await cluster_command(client, "MEET", "127.0.0.1", places[0].port, places[0].bus)

        async def are_one() -> bool:
            return all([await _is_whole(client) for client in clients])

        await until(are_one)


async def cluster_command(client: Redis, *words: str | int) -> bytes:
    """Send a CLUSTER command to one server."""
    return bytes(await client.execute_command("CLUSTER", *words))  # type: ignore[no-untyped-call]


async def _is_whole(client: Redis) -> bool:
    lines = (await cluster_command(client, "INFO")).decode().split()
    return {"cluster_state:ok", f"cluster_slots_assigned:{_SLOTS}", f"cluster_known_nodes:{_MASTERS}"} <= set(lines)


def patient_store(url: str) -> AbstractAsyncContextManager[RedisTimelineStore]:
    """Open a store that waits longer than the service's."""
    return open_redis(url, read_seconds=_PATIENCE, change_seconds=_PATIENCE)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(_PATIENCE):
        while not await condition():  # noqa: ASYNC110  # there is nothing to wait for but the condition
            await asyncio.sleep(_POLL_SECONDS)
