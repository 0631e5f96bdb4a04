"""Serving: a gRPC server with health and reflection that starts ready and stops without failing a request."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from meshkit.auth import ServiceTokens, UserTokens
from meshkit.rpc.edge import Edge, EdgeInterceptor, access_of
from meshkit.rpc.health import Health
from meshkit.rpc.tls import Tls

MAX_REQUEST_BYTES = 1_048_576
_QUIET_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Listen:
    """Where and how to serve. Port 0 takes a free one. Times are in seconds.

    A connection ends when it is `max_connection_age` old, give or take a tenth, and its calls are done: so callers look for new
    processes, and new processes get callers.
    """

    address: str = "127.0.0.1:0"
    reflection: bool = False
    max_concurrent_calls: int = 2_000
    drain_notice: float = 0.0
    drain_limit: float = 10.0
    max_connection_age: float = 300.0
    tls: Tls | None = None


@asynccontextmanager
async def serving(
    listen: Listen,
    users: UserTokens,
    services: ServiceTokens,
    descriptors: Sequence[ServiceDescriptor],
    register: Callable[[grpc.aio.Server], None],
) -> AsyncIterator[str]:
    """Serve until the context ends, and give the address, `host:port`.

    At the end: say NOT_SERVING, wait `drain_notice` so that load balancers see it, and on as long as calls come, since gRPC
    cancels what comes later; take no new calls, and let the running ones finish. After the notice all this takes at most
    `drain_limit`. Without a notice nobody is waited for but the running calls.

    Raises:
        OSError: the address cannot be listened on, or the files for TLS cannot be used.

    """
    access = access_of([method for service in descriptors for method in service.methods])
    edge = Edge(users, services, access, listen.max_concurrent_calls)
    server = grpc.aio.server(
        interceptors=[EdgeInterceptor(edge)],
        # The edge bounds the calls it guards, and answers so; this is for what comes before it.
        maximum_concurrent_rpcs=2 * listen.max_concurrent_calls + 100,
        options=_options(listen, edge),
    )
    register(server)
    names = [service.full_name for service in descriptors]
    health_servicer = Health()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if listen.reflection:
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    address = _bind(server, listen)
    await server.start()
    for name in [*names, ""]:
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield address
    finally:
        await health_servicer.enter_graceful_shutdown()
        await asyncio.sleep(listen.drain_notice)
        limit = time.monotonic() + listen.drain_limit
        if listen.drain_notice:
            await _calls_ended(edge, limit)
        health_servicer.close()
        await server.stop(max(0.0, limit - time.monotonic()))


async def _calls_ended(edge: Edge, limit: float) -> None:
    """Wait until callers have gone elsewhere; a busy load balancer may be late in asking for health."""
    while (now := time.monotonic()) < min(limit, edge.last_call + _QUIET_SECONDS):  # noqa: ASYNC110 - no call sets an event
        await asyncio.sleep(edge.last_call + _QUIET_SECONDS - now)


def _options(listen: Listen, edge: Edge) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", round(listen.max_connection_age * 1_000)),
        # Longer than any call may take.
        ("grpc.max_connection_age_grace_ms", round(2 * edge.max_seconds * 1_000)),
        # Half of what our own callers keep to.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _bind(server: grpc.aio.Server, listen: Listen) -> str:
    host, _, _ = listen.address.rpartition(":")
    credentials = listen.tls.server() if listen.tls else None
    try:
        port = server.add_secure_port(listen.address, credentials) if credentials else server.add_insecure_port(listen.address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen.address}: is the port in use?") from error
    return f"{host}:{port}"
