"""Serving: a gRPC server with health and reflection that starts ready and stops without failing a request."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from meshkit.auth import ServiceTokens, UserTokens
from meshkit.rpc.edge import Edge, EdgeInterceptor, access_of

MAX_REQUEST_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Listen:
    """Where and how to serve. Port 0 takes a free one. Times are in seconds."""

    address: str = "127.0.0.1:0"
    reflection: bool = False
    max_concurrent_calls: int = 2_000
    drain_notice: float = 0.0
    drain_limit: float = 10.0


@asynccontextmanager
async def serving(
    listen: Listen,
    users: UserTokens,
    services: ServiceTokens,
    descriptors: Sequence[ServiceDescriptor],
    register: Callable[[grpc.aio.Server], None],
) -> AsyncIterator[str]:
    """Serve until the context ends, and give the address, `host:port`.

    At the end: say NOT_SERVING, wait `drain_notice` so that load balancers see it, take no new calls, and let the running ones
    finish for up to `drain_limit`.

    Raises:
        OSError: the address cannot be listened on.

    """
    access = access_of([method for service in descriptors for method in service.methods])
    edge = Edge(users, services, access, listen.max_concurrent_calls)
    server = grpc.aio.server(
        interceptors=[EdgeInterceptor(edge)],
        # The edge bounds the calls it guards, and answers so; this is for what comes before it.
        maximum_concurrent_rpcs=2 * listen.max_concurrent_calls + 100,
        options=[
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ],
    )
    register(server)
    names = [service.full_name for service in descriptors]
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if listen.reflection:
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    address = _bind(server, listen.address)
    await server.start()
    for name in [*names, ""]:
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield address
    finally:
        await health_servicer.enter_graceful_shutdown()
        await asyncio.sleep(listen.drain_notice)
        await server.stop(listen.drain_limit)


def _bind(server: grpc.aio.Server, address: str) -> str:
    host, _, _ = address.rpartition(":")
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: is the port in use?") from error
    return f"{host}:{port}"
