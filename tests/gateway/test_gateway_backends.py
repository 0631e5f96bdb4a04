"""Several processes behind one service: restarted in turn, killed, frozen, and with TLS between the gateway and them."""

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway.envoy import run_envoy
from gateway.settings import GatewaySettings, RateLimit
from meshkit.issuer import Issuer
from meshkit.process import Child
from meshkit.settings import MeshSettings
from meshkit.sockets import free_port
from tests.gateway.rest import Rest
from tests.gateway.servicer import SERVICES
from tests.rpc.backend import Seen, backend, process, unavailable
from tests.rpc.certificates import authority
from tests.rpc.client import ANY_PORT, until

PER_SECOND = 150
NO_LIMIT = RateLimit(per_second=10_000, burst=10_000)
HEALTH_INTERVAL = 0.2
Common = dict[str, object]


@pytest.fixture
def common(tmp_path: Path) -> Common:
    """Give the settings of every backend, with keys made."""
    made: Common = {"data_dir": tmp_path / "data"}
    MeshSettings.model_validate(made).user_tokens()
    MeshSettings.model_validate(made).service_tokens("backend")
    return made


@pytest.fixture
def addresses() -> list[str]:
    """Give places for two processes."""
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


@asynccontextmanager
async def front(common: Common, folder: Path, addresses: Iterable[str], **settings: object) -> AsyncIterator[Rest]:
    """Run a gateway before the backends, and call it as user 7."""
    mesh = MeshSettings.model_validate(common)
    given = {
        "port": 0,
        "upstreams": dict.fromkeys(SERVICES, ",".join(addresses)),
        "jwks_file": mesh.keys_dir / "jwks.json",
        "user_limit": NO_LIMIT,
        "health_interval": HEALTH_INTERVAL,
        **settings,
    }
    async with run_envoy(GatewaySettings.model_validate(given), folder) as gateway, aiohttp.ClientSession() as session:
        yield Rest(gateway.url, session, Issuer.load_or_create(mesh.keys_dir).user_token(7))


@dataclass(slots=True)
class Load:
    """A steady load: requests begin when their time has come, whether or not those before are answered."""

    rest: Rest
    over: bool = False
    answers: Counter[int] = field(default_factory=Counter)
    failures: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator["Load"]:
        """Send requests during the block, half of them reads, half writes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._begin(group))
            try:
                yield self
            finally:
                self.over = True

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in itertools.count():
            await asyncio.sleep(began + number / PER_SECOND - loop.time())
            if self.over:
                return
            group.create_task(self._read() if number % 2 else self._write())

    async def _read(self) -> None:
        await self._note("GET", "/v1/posts/5")

    async def _write(self) -> None:
        await self._note("POST", "/v1/posts", {"content": "x"})

    async def _note(self, verb: str, path: str, body: object = None) -> None:
        answer = await self.rest.call(verb, path, body)
        if answer.status == 200:
            self.answers[int(answer.body["user_id"])] += 1
        else:
            self.failures[verb, *answer.refusal()] += 1

    async def answered(self, pid: int) -> None:
        """Wait until a process answered some more requests."""
        enough = self.answers[pid] + 20

        async def so_many() -> bool:
            return self.answers[pid] >= enough

        await until(so_many)


@dataclass(slots=True)
class Gate:
    """A way to a process. When it is shut, who is in stays, and who comes is turned away, after the connection was made."""

    process: str
    turned_away: int = 0
    shut: bool = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        """Give the gate's address during the block."""
        async with await asyncio.start_server(self._come, "127.0.0.1") as server:
            host, port = server.sockets[0].getsockname()
            yield f"{host}:{port}"

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.shut:
            self.turned_away += 1
            writer.close()
            return
        host, _, port = self.process.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()


def starter(common: Common, tmp_path: Path, **settings: object) -> Callable[[str], AbstractAsyncContextManager[Child]]:
    """Give a way to start a backend at an address, again and again."""
    numbers = itertools.count()

    def started(address: str) -> AbstractAsyncContextManager[Child]:
        return process(address, common, tmp_path / f"{next(numbers)}.log", delay=0.01, **settings)

    return started


async def test_backends_restarted_in_turn_fail_no_request(common: Common, addresses: list[str], tmp_path: Path) -> None:
    """Two processes are stopped in order and started again, one after the other and twice, under load: no read or write fails."""
    started = starter(common, tmp_path, drain_notice=5 * HEALTH_INTERVAL)
    async with AsyncExitStack() as second, AsyncExitStack() as first:
        stacks = dict(zip(addresses, (first, second), strict=True))
        before = [await stack.enter_async_context(started(address)) for address, stack in stacks.items()]
        async with front(common, tmp_path, addresses) as rest, Load(rest).going_on() as load:
            for each in before:
                await load.answered(each.pid)
            for address, stack in [*stacks.items()] * 2:
                await stack.aclose()
                assert (await rest.call("GET", "/healthz", token=None)).status == 200
                again = await stack.enter_async_context(started(address))
                await load.answered(again.pid)
    assert not load.failures
    assert len(load.answers) == 6


async def test_connections_that_grow_old_fail_no_request(common: Common, tmp_path: Path) -> None:
    """Services that end each connection after a moment fail no read and no write under load."""
    mesh, seen = MeshSettings.model_validate(common), (Seen(1), Seen(2))
    async with (
        backend(mesh, ANY_PORT, seen[0], max_connection_age=0.3) as one,
        backend(mesh, ANY_PORT, seen[1], max_connection_age=0.3) as two,
        front(common, tmp_path, [one, two]) as rest,
        Load(rest).going_on() as load,
    ):
        for each in seen:
            await until(partial(each.reconnected, 4))
    assert not load.failures
    assert load.answers


async def test_a_killed_backend_fails_no_read_and_only_writes_under_way(
    common: Common, addresses: list[str], tmp_path: Path
) -> None:
    """`kill -9` of one of two processes under load: every GET is answered; a POST that it had taken may be 503, no other fails."""
    started = starter(common, tmp_path)
    async with (
        started(addresses[0]) as one,
        started(addresses[1]) as two,
        front(common, tmp_path, addresses) as rest,
        Load(rest).going_on() as load,
    ):
        for each in (one, two):
            await load.answered(each.pid)
        os.kill(one.pid, signal.SIGKILL)
        await one.wait()
        for _ in range(5):
            await load.answered(two.pid)
    assert set(load.failures) <= {("POST", 503, 14)}
    assert load.failures.total() < PER_SECOND * 0.1


async def test_a_frozen_backend_fails_no_read(common: Common, addresses: list[str], tmp_path: Path) -> None:
    """A process that stops answering costs a read time, not its answer: it is asked of the other one."""
    started = starter(common, tmp_path)
    async with (
        started(addresses[0]) as one,
        started(addresses[1]) as two,
        front(common, tmp_path, addresses, request_timeout=2.0, health_interval=30) as rest,
    ):
        os.kill(one.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(rest.call("GET", "/v1/posts/5") for _ in range(10)))
        finally:
            os.kill(one.pid, signal.SIGCONT)
    assert {answer.body["user_id"] for answer in answers} == {str(two.pid)}


async def test_a_read_that_one_process_drops_is_answered_by_the_other(common: Common, tmp_path: Path) -> None:
    """A process that drops each call, though its health says nothing of it, costs no read, however busy the other process is."""
    mesh, busy = MeshSettings.model_validate(common), Seen(2, before=partial(asyncio.sleep, 0.01))
    async with backend(mesh, ANY_PORT, Seen(1)) as one, backend(mesh, ANY_PORT, busy) as two:
        gate = Gate(one)
        async with gate.opened() as dropping, front(common, tmp_path, [dropping, two]) as rest:
            gate.shut = True
            # Few at a time: five failures in a row would have the process left alone.
            answers = [await asyncio.gather(*(rest.call("GET", "/v1/posts/5") for _ in range(4))) for _ in range(100)]
    assert Counter(answer.status for some in answers for answer in some) == {200: 400}
    assert gate.turned_away > 50


async def test_what_a_service_answers_is_final(common: Common, tmp_path: Path) -> None:
    """A service that says that it cannot do anything now is asked once, the other process not at all, and the app is told why."""
    mesh, seen = MeshSettings.model_validate(common), (Seen(1, before=unavailable), Seen(2, before=unavailable))
    async with (
        backend(mesh, ANY_PORT, seen[0]) as one,
        backend(mesh, ANY_PORT, seen[1]) as two,
        front(common, tmp_path, [one, two]) as rest,
    ):
        answer = await rest.call("GET", "/v1/posts/5")
    assert answer.refusal() == (503, 14)
    assert [detail["reason"] for detail in answer.body["details"]] == ["AWAY"]
    assert sum(each.calls for each in seen) == 1
    assert not [name for name in answer.headers if name.startswith("grpc-")]


async def test_requests_are_shared(common: Common, tmp_path: Path) -> None:
    """Each of two processes gets a good part of the requests."""
    mesh = MeshSettings.model_validate(common)
    async with (
        backend(mesh, ANY_PORT, Seen(1)) as one,
        backend(mesh, ANY_PORT, Seen(2)) as two,
        front(common, tmp_path, [one, two]) as rest,
    ):
        answers = [await rest.call("GET", "/v1/posts/5") for _ in range(200)]
    shares = Counter(answer.body["user_id"] for answer in answers)
    assert set(shares) == {"1", "2"}
    assert min(shares.values()) > 50


async def test_the_gateway_speaks_tls_to_the_services(common: Common, tmp_path: Path) -> None:
    """With its certificate the gateway is answered by services that ask for one, and their health is known."""
    ca = authority(tmp_path / "ca.pem")
    mesh = MeshSettings.model_validate(common | ca.sign(tmp_path / "service"))
    async with backend(mesh, ANY_PORT) as address, front(common, tmp_path, [address], **ca.sign(tmp_path / "gateway")) as rest:
        assert (await rest.call("GET", "/v1/posts/5")).status == 200
        assert (await rest.call("GET", "/healthz", token=None)).status == 200


@pytest.mark.parametrize("wrong", ["no certificate", "another authority", "another name"])
async def test_the_gateway_and_a_service_that_do_not_know_each_other(common: Common, tmp_path: Path, wrong: str) -> None:
    """A gateway without a certificate, or with a stranger's, gets no answer, and a service with another name gets no request."""
    ca, seen = authority(tmp_path / "ca.pem"), Seen()
    shown = ca.sign(tmp_path / "service", "other" if wrong == "another name" else "feedmesh")
    signer = authority(tmp_path / "theirs.pem") if wrong == "another authority" else ca
    own = {} if wrong == "no certificate" else signer.sign(tmp_path / "gateway") | {"tls_ca": ca.file}
    async with (
        backend(MeshSettings.model_validate(common | shown), ANY_PORT, seen) as address,
        front(common, tmp_path, [address], **own) as rest,
    ):
        assert (await rest.call("GET", "/v1/posts/5")).refusal() == (503, 14)
    assert not seen.calls
