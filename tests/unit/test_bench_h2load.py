"""What the bench believes of h2load: only runs in which every request was answered well."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.h2load import Target, call, grpc_target, one_by_one, saturate
from gateway.envoy import envoy_path
from meshkit.process import ChildError, child
from meshkit.sockets import free_port

METHOD = "/feed.test.v1.TestService/Get"
ANSWER = b"a" * 1_000
SECONDS = 0.2
_FILTERS = "type.googleapis.com/envoy.extensions.filters"


@asynccontextmanager
async def served(failures: int = 0, answers: tuple[bytes, ...] = (ANSWER,)) -> AsyncIterator[str]:
    """Run a gRPC server that gives the answers in turn, and fails each so-manieth call; give its address."""
    calls = 0

    async def get(_request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        nonlocal calls
        calls += 1
        if failures and calls % failures == 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return answers[calls % len(answers)]

    server = grpc.aio.server()
    method: Any = grpc.unary_unary_rpc_method_handler(get)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("feed.test.v1.TestService", {"Get": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def website(status: int, folder: Path) -> AsyncIterator[str]:
    """Run Envoy, which answers every request with a status; give its URL."""
    port = free_port()
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": status}}
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}],
    }
    filters = [{"name": "http", "typed_config": manager}]
    config = folder / "envoy.json"
    config.write_text(
        json.dumps({"static_resources": {"listeners": [{"address": address, "filter_chains": [{"filters": filters}]}]}})
    )

    async def ready() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    argv: list[str | Path] = [envoy_path(), "-c", config, "--disable-hot-restart", "--concurrency", "1"]
    async with child(argv, name="Envoy", log=folder / "envoy.log", ready=ready):
        yield f"http://127.0.0.1:{port}/"


def target(address: str, answer: bytes = ANSWER) -> Target:
    """Give the call that is repeated, with the answer that is expected."""
    return grpc_target(address, METHOD, b"question", answer, {})


async def test_answers_are_counted() -> None:
    """The rate of a server is that at which it answers: more than one request each 10 ms, and none that it did not get."""
    async with served() as address:
        assert await call(address, METHOD, b"question", {}) == ANSWER
        assert await saturate(target(address), SECONDS) > 100


async def test_requests_are_timed_one_by_one() -> None:
    """So many requests are sent as were asked for, and each has taken some time."""
    async with served() as address:
        took = await one_by_one(target(address), 20)
    assert len(took) == 20
    assert all(0 < seconds < 10 for seconds in took)


async def test_grpc_errors_are_not_answers() -> None:
    """Failures, of which gRPC tells with HTTP's 200, are noticed by their size."""
    async with served(failures=10) as address:
        with pytest.raises(ChildError, match="another size"):
            await saturate(target(address), SECONDS)


async def test_other_answers_are_not_taken() -> None:
    """An answer that is shorter than the one expected now and then is noticed."""
    async with served(answers=(ANSWER, ANSWER[:-100])) as address:
        with pytest.raises(ChildError, match="another size"):
            await saturate(target(address), SECONDS)


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_http_errors_are_not_answers(status: int, tmp_path: Path) -> None:
    """A server that answers with anything but success has no rate."""
    async with website(status, tmp_path) as url:
        with pytest.raises(ChildError, match="not every request"):
            await saturate(Target(url), SECONDS)


async def test_http_answers_are_counted(tmp_path: Path) -> None:
    """A server that answers with success has a rate."""
    async with website(200, tmp_path) as url:
        assert await saturate(Target(url), SECONDS) > 100


async def test_a_server_that_is_not_there_has_no_rate() -> None:
    """Where nobody listens, it is an error and not a rate of nothing."""
    with pytest.raises(ChildError):
        await saturate(target(f"127.0.0.1:{free_port()}"), SECONDS)


async def test_a_server_that_never_answers_has_no_rate() -> None:
    """Requests that all are still under way at the end are an error and not a rate of nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ChildError, match="not every request"):
        await saturate(target(f"127.0.0.1:{silent.getsockname()[1]}"), SECONDS)
