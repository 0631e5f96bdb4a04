"""Breaks a mesh, one fault at a time, in an order that the seed decides; everything heals before the next."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiormq
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.community import rng
from tests.chaos.ledger import Fault, Ledger, now
from tests.chaos.mesh import Mesh, setting_of
from tests.chaos.network import cut

_SERVICES = ("graph_svc", "post_svc", "timeline_svc", "fanout_svc")
# How many `feedmesh up` runs of each service.
_PROCESSES = 2
_HEAL_S = 60.0
_ANSWER_S = 2.0
_POLL_S = 0.1
_LONG_FREEZE_S = 3.0
_CUT_S = 4.0
_KEYS_AT_ONCE = 500
_QUEUE, _EXCHANGE, _TOPIC = "feedmesh.fanout.posts", "feedmesh.work", "post.created"

Break = Callable[["Nemesis"], Awaitable[str]]


class NotHealedError(Exception):
    """The mesh did not come back in time."""


class Nemesis:
    """Knows how to break one mesh."""

    def __init__(self, mesh: Mesh, ledger: Ledger, chance: random.Random) -> None:
        self.mesh = mesh
        self.chance = chance
        self.ledger = ledger

    async def haunt(self, names: Sequence[str], begin: float, seconds: float) -> None:
        """Do these faults, evenly spread over a time."""
        for number, name in enumerate(names):
            await asyncio.sleep(max(0.0, begin + seconds * number / len(names) - now()))
            await self.strike(name)

    async def strike(self, name: str) -> None:
        """Do a fault, and wait until everything serves again. Raises NotHealedError."""
        started = now()
        detail = await FAULTS[name](self)
        await self.healed(name)
        self.ledger.write(Fault(name, detail, started, now()))

    async def healed(self, after: str) -> None:
        """Wait until everything serves. Raises NotHealedError."""
        try:
            await _until(self._whole, _HEAL_S)
        except TimeoutError:
            raise NotHealedError(f"not serving {_HEAL_S:g} s after {after}: {self.mesh.log()}") from None

    async def _whole(self) -> bool:
        running = bool(self.mesh.processes("unixsocket"))
        if self.mesh.engines == "real":
            running = running and len(_services(self)) >= _PROCESSES * len(_SERVICES) and await self._broker_answers()
        return running and await self.mesh.serving() and await self._cache_answers()

    async def _broker_answers(self) -> bool:
        with suppress(OSError):
            async with asyncio.timeout(_ANSWER_S):
                _, writer = await asyncio.open_connection("127.0.0.1", _broker_port(self))
            writer.close()
            return True
        return False

    async def _cache_answers(self) -> bool:
        # While it starts it may be gone again, or have no name yet.
        with suppress(OSError, LookupError, RedisError):
            async with self.cache() as redis:
                return bool(await redis.ping())
        return False

    @asynccontextmanager
    async def cache(self) -> AsyncIterator[Redis]:
        """Connect to the private Valkey."""
        async with Redis(unix_socket_path=_socket_of(self.mesh.processes("unixsocket")[0]), socket_timeout=_ANSWER_S) as redis:
            yield redis

    def process(self, *words: str) -> int:
        """Choose a process of the mesh by words of its command line."""
        return self.chance.choice(self.mesh.processes(*words))

    async def freeze(self, pid: int, seconds: float) -> str:
        """Stop a process for a while."""
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return f"{seconds:g} s"

    async def kill(self, pid: int) -> str:
        """Kill a process, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)

        async def gone() -> bool:
            return await asyncio.to_thread(lambda: not Path(f"/proc/{pid}/exe").exists())

        await _until(gone, _HEAL_S)
        return f"process {pid}"


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait until something holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(_POLL_S)


def _socket_of(valkey: int) -> str:
    """Find where a server listens: its command line says it, or the title that it has given itself."""
    words = Path(f"/proc/{valkey}/cmdline").read_bytes().decode().split("\0")
    return words[words.index("--unixsocket") + 1] if "--unixsocket" in words else words[0].rpartition("unixsocket:")[2]


async def _kill_mesh(nemesis: Nemesis) -> str:
    await nemesis.mesh.kill()
    await nemesis.mesh.start()
    return "and started again"


async def _restart_mesh(nemesis: Nemesis) -> str:
    await nemesis.mesh.stop()
    await nemesis.mesh.start()
    return "stopped in order and started again"


async def _replace_processes(nemesis: Nemesis) -> str:
    before = _services(nemesis)

    async def replaced() -> bool:
        return not before & _services(nemesis)

    await nemesis.mesh.restart_processes()
    await _until(replaced, _HEAL_S * 2)
    return f"{len(before)} processes"


def _services(nemesis: Nemesis) -> set[int]:
    return {pid for service in _SERVICES for pid in nemesis.mesh.processes("-m", service)}


async def _flush(nemesis: Nemesis) -> str:
    async with nemesis.cache() as redis:
        keys = await redis.dbsize()
        await redis.flushall()
    return f"{keys} keys"


async def _evict(nemesis: Nemesis) -> str:
    """Take away a third of all keys, each by itself."""
    async with nemesis.cache() as redis:
        return await _unlink(redis, [key async for key in redis.scan_iter(count=_KEYS_AT_ONCE) if nemesis.chance.random() < 1 / 3])


async def _evict_strings(nemesis: Nemesis) -> str:
    """Take away what is large, and leave the small hashes that stand beside it."""
    async with nemesis.cache() as redis:
        return await _unlink(redis, [key async for key in redis.scan_iter(count=_KEYS_AT_ONCE, _type="string")])


async def _unlink(redis: Redis, keys: Sequence[bytes]) -> str:
    taken = 0
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        taken += await redis.unlink(*keys[start : start + _KEYS_AT_ONCE])
    return f"{taken} keys"


async def _cut_off(ports: Sequence[int], what: str) -> str:
    async with cut(ports):
        await asyncio.sleep(_CUT_S)
    return f"{what}, {_CUT_S:g} s"


async def _cut_broker(nemesis: Nemesis) -> str:
    return await _cut_off([_broker_port(nemesis)], "RabbitMQ from everybody")


async def _cut_service(nemesis: Nemesis) -> str:
    service = nemesis.chance.choice(_SERVICES)
    variable = f"FEEDMESH_{service.removesuffix('_svc').upper()}_LISTEN"
    listens = [setting_of(pid, variable) for pid in nemesis.mesh.processes("-m", service)]
    return await _cut_off([int(address.rpartition(":")[2]) for address in listens], f"{service} from everybody")


async def _unbind(nemesis: Nemesis) -> str:
    """Let the broker route no new posts for a while: what is published then is returned, and has to be published again."""
    async with aiormq.connect(_broker_url(nemesis)) as connection:
        channel = await connection.channel()
        await channel.queue_unbind(_QUEUE, _EXCHANGE, _TOPIC)
        try:
            await asyncio.sleep(_CUT_S)
        finally:
            await channel.queue_bind(_QUEUE, _EXCHANGE, _TOPIC)
    return f"{_QUEUE}, {_CUT_S:g} s"


def _broker_url(nemesis: Nemesis) -> str:
    password = (nemesis.mesh.data / "rabbitmq" / "password").read_text()
    return f"amqp://feedmesh:{password}@127.0.0.1:{_broker_port(nemesis)}/"


def _broker_port(nemesis: Nemesis) -> int:
    settings = (nemesis.mesh.data / "rabbitmq" / "rabbitmq.conf").read_text()
    return int(settings.partition("127.0.0.1:")[2].partition("\n")[0])


def _killing(*words: str) -> Break:
    return lambda nemesis: nemesis.kill(nemesis.process(*words))


def _freezing(*words: str, seconds: float = _LONG_FREEZE_S) -> Break:
    return lambda nemesis: nemesis.freeze(nemesis.process(*words), seconds)


FAULTS: dict[str, Break] = {
    "kill mesh": _kill_mesh,
    "freeze mesh": lambda nemesis: nemesis.freeze(nemesis.mesh.pid, _LONG_FREEZE_S),
    "restart mesh": _restart_mesh,
    "kill Valkey": _killing("unixsocket"),
    "freeze Valkey": _freezing("unixsocket"),
    "flush Valkey": _flush,
    "evict keys": _evict,
    "evict strings": _evict_strings,
    "kill Envoy": _killing("envoy.json"),
    "freeze Envoy": _freezing("envoy.json"),
    "kill graph_svc": _killing("-m", "graph_svc"),
    "kill post_svc": _killing("-m", "post_svc"),
    "kill timeline_svc": _killing("-m", "timeline_svc"),
    "kill fanout_svc": _killing("-m", "fanout_svc"),
    "freeze a service": lambda nemesis: nemesis.freeze(nemesis.process("-m", nemesis.chance.choice(_SERVICES)), _LONG_FREEZE_S),
    "replace processes": _replace_processes,
    "kill RabbitMQ": _killing("beam.smp"),
    "freeze RabbitMQ": _freezing("beam.smp"),
    "freeze DynamoDB": _freezing("-m", "ministack", seconds=2.0),
    "unbind a queue": _unbind,
    "cut off RabbitMQ": _cut_broker,
    "cut off a service": _cut_service,
}

_EVERYWHERE = ["kill Valkey", "freeze Valkey", "flush Valkey", "evict keys", "evict strings", "kill Envoy", "freeze Envoy"]
_EMBEDDED = ["kill mesh", "freeze mesh", "restart mesh"]
_CUTS = ["cut off RabbitMQ", "cut off a service"]


def faults_for(engines: str, *, cuts: bool) -> list[str]:
    """Name the faults that a set-up can have; without a network of its own there are no cuts."""
    if engines == "embedded":
        return _EVERYWHERE + _EMBEDDED
    return [name for name in FAULTS if name not in _EMBEDDED and (cuts or name not in _CUTS)]


def shuffled(names: Sequence[str], seed: int) -> list[str]:
    """Give an order that the seed decides."""
    return rng(seed, "faults").sample(list(names), len(names))
