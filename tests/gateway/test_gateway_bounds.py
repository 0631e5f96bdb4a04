"""Bounds and failures: rate limits, services that are away, Envoy's own start and end."""

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from gateway.envoy import Gateway, run_envoy
from gateway.settings import GatewaySettings, RateLimit
from meshkit.issuer import Issuer
from meshkit.process import ChildError
from tests.gateway.rest import Rest
from tests.gateway.servicer import SERVICES, Odd, Upstream, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


async def test_users_and_addresses_are_limited_apart(settings: GatewaySettings, issuer: Issuer, tmp_path: Path) -> None:
    """A user over the limit is 429 with a hint when to come back; another user, and callers without a token, are not touched."""
    tight = RateLimit(per_second=1, burst=3)
    bound = settings.model_copy(update={"user_limit": tight, "address_limit": tight})
    async with run_envoy(bound, tmp_path) as gateway, aiohttp.ClientSession() as session:
        rest = Rest(gateway.url, session, issuer.user_token(7))
        answers = [await rest.call("GET", "/v1/posts/5") for _ in range(12)]
        assert answers[0].status == 200
        assert answers[-1].refusal() == (429, 8)
        assert answers[-1].headers["retry-after"] == "1"
        assert (await rest.call("GET", "/v1/posts/5", token=issuer.user_token(8))).status == 200
        public = [await rest.call("POST", "/v1/users", {"username": "bob"}, token=None) for _ in range(12)]
        assert public[0].status == 200
        assert public[-1].refusal() == (429, 8)


async def test_a_service_that_is_away_is_503_and_is_found_again(settings: GatewaySettings, issuer: Issuer, tmp_path: Path) -> None:
    """While a service is away its routes and /healthz are 503; when it is there again, so are they, without a restart."""
    port = free_port()
    away = settings.model_copy(update={"upstreams": dict.fromkeys(SERVICES, f"127.0.0.1:{port}")})
    async with run_envoy(away, tmp_path) as gateway, aiohttp.ClientSession() as session:
        rest = Rest(gateway.url, session, issuer.user_token(7))
        answer = await rest.call("GET", "/v1/posts/5")
        assert answer.refusal() == (503, 14)
        assert not [word for word in ("upstream", "connect", "127.0.0.1", str(port)) if word in answer.body["message"]]
        assert (await rest.call("GET", "/healthz", token=None)).refusal() == (503, 14)
        async with serve(port), asyncio.timeout(20):
            while (await rest.call("GET", "/healthz", token=None)).status != 200:
                pass
            assert (await rest.call("GET", "/v1/posts/5")).status == 200


async def test_reflection_is_off_unless_asked_for(settings: GatewaySettings, upstream: Upstream, tmp_path: Path) -> None:
    """The gateway shows the contract of the server that the settings name, and of none by default."""
    async with run_envoy(settings, tmp_path / "off") as gateway, grpc.aio.insecure_channel(_address(gateway)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            # As a single call, since the refusal of a stream that is still sending may look like a failure to send.
            await channel.unary_unary(REFLECTION, request_serializer=bytes)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    shown = settings.model_copy(update={"reflection_upstream": upstream.address})
    async with run_envoy(shown, tmp_path / "on") as gateway:
        assert set(SERVICES) <= await listed_services(gateway)


def _address(gateway: Gateway) -> str:
    return gateway.url.removeprefix("http://")


async def listed_services(gateway: Gateway) -> set[str]:
    """Ask a gateway for its services, as grpcurl does: the request stream stays open while the answer is read."""

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        await answered.wait()

    answered = asyncio.Event()
    async with grpc.aio.insecure_channel(_address(gateway)) as channel:
        call = channel.stream_stream(
            REFLECTION,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(ask())
        try:
            async for answer in call:
                return {service.name for service in answer.list_services_response.service}
        finally:
            answered.set()
    raise AssertionError("no answer")


async def test_a_taken_port_is_told_clearly(settings: GatewaySettings, tmp_path: Path) -> None:
    """Starting on a port that another process listens on fails with its number."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ChildError, match=f"cannot listen on 127.0.0.1 port {port}"):
            async with run_envoy(settings.model_copy(update={"port": port}), tmp_path):
                pass


async def test_a_configuration_that_envoy_refuses_is_shown(settings: GatewaySettings, tmp_path: Path) -> None:
    """The error holds the end of Envoy's log."""
    (tmp_path / "jwks.json").write_text("not keys")
    with pytest.raises(ChildError, match="ended with status 1 before it was ready"):
        async with run_envoy(settings.model_copy(update={"jwks_file": tmp_path / "jwks.json"}), tmp_path):
            pass


async def test_a_service_without_an_address_is_told(settings: GatewaySettings, tmp_path: Path) -> None:
    """Every service with app routes needs an upstream."""
    with pytest.raises(ValueError, match="no upstream address for feed"):
        async with run_envoy(settings.model_copy(update={"upstreams": {}}), tmp_path):
            pass


async def test_envoys_death_is_noticed(settings: GatewaySettings, tmp_path: Path) -> None:
    """A supervisor that waits on the process learns that it was killed."""
    async with run_envoy(settings, tmp_path) as gateway:
        os.kill(gateway.process.pid, signal.SIGKILL)
        assert await asyncio.wait_for(gateway.process.wait(), 10) == -signal.SIGKILL


def free_port() -> int:
    """Find a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_stop_lets_requests_finish(settings: GatewaySettings, upstream: Upstream, issuer: Issuer, tmp_path: Path) -> None:
    """A gateway that is stopped answers what it has taken, and takes nothing new."""
    patient = settings.model_copy(update={"request_timeout": 10.0})
    async with aiohttp.ClientSession() as session:
        async with run_envoy(patient, tmp_path) as gateway:
            rest = Rest(gateway.url, session, issuer.user_token(7))
            answer = asyncio.create_task(rest.call("GET", f"/v1/posts/{int(Odd.HELD)}"))
            await upstream.held.wait()
            release = asyncio.create_task(_release_once_closed(gateway.url, upstream))
        await release
        assert (await answer).status == 200


async def test_a_stop_cuts_nobody_off(settings: GatewaySettings, issuer: Issuer, tmp_path: Path) -> None:
    """Clients that keep their connections busy while the gateway stops get every answer, and then find nobody to connect to."""
    async with asyncio.TaskGroup() as tasks:
        async with run_envoy(settings, tmp_path) as gateway:
            answered = asyncio.Event()
            clients = [tasks.create_task(_post_until_refused(gateway.url, issuer.user_token(7), answered)) for _ in range(4)]
            await answered.wait()
        assert all([await client for client in clients])


async def _post_until_refused(url: str, token: str, answered: asyncio.Event) -> int:
    """Post without a pause until no new connection can be had, and tell how often it went well."""
    fresh = False

    async def note(_session: object, _context: object, parameters: object) -> None:
        nonlocal fresh
        fresh = isinstance(parameters, aiohttp.TraceConnectionCreateEndParams)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    trace.on_connection_reuseconn.append(note)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        rest = Rest(url, session, token)
        for count in itertools.count():
            try:
                answer = await rest.call("POST", "/v1/posts", {"content": "x"})
            except aiohttp.ClientConnectorError:
                return count
            except aiohttp.ClientOSError:
                # The kernel had taken the connection, and Envoy never saw it.
                assert fresh
                return count
            assert answer.status in {200, 429}
            answered.set()
    raise AssertionError("never refused")


async def _release_once_closed(url: str, upstream: Upstream) -> None:
    """Let the held call go as soon as nobody can connect any more."""
    host, port = url.removeprefix("http://").split(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionResetError:
            continue  # it was closing just then
        except ConnectionRefusedError:
            break
        writer.close()
    upstream.let_go.set()
