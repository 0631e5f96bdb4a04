"""The calls that operators and load balancers make: health and reflection."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from tests.rpc.client import PATIENCE, stubs


async def check(channel: grpc.aio.Channel, service: str = "", *, timeout: float = PATIENCE) -> int:  # noqa: ASYNC109 - gRPC's own
    """Ask how a service is."""
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return (await call(HealthCheckRequest(service=service), timeout=timeout)).status


def watch(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall[Any, HealthCheckResponse]:
    """Ask to be told how the process is."""
    call = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return call(HealthCheckRequest(), timeout=PATIENCE)


async def health(address: str, service: str = "") -> int:
    """Ask how a service is, over a connection of its own."""
    async with stubs(address) as connected:
        return await check(connected.channel, service)


async def answers(address: str) -> bool:
    """Tell whether somebody takes calls at an address."""
    try:
        await health(address)
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.UNAVAILABLE
    return True


async def reflected(address: str) -> set[str]:
    """Ask which services there are."""
    async with stubs(address) as connected:
        call = connected.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        replies: Any = call(iter([ServerReflectionRequest(list_services="")]), timeout=PATIENCE)
        names = {service.name async for reply in replies for service in reply.list_services_response.service}
        assert all(isinstance(name, str) for name in names)
        return names
