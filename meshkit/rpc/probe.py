"""Asking a server whether it serves."""

import grpc
from grpc_health.v1 import health_pb2

from meshkit.rpc.client import open_channel
from meshkit.rpc.tls import Tls

_CHECK = "/grpc.health.v1.Health/Check"
_SECONDS = 1.0


async def is_serving(address: str, tls: Tls | None = None) -> bool:
    """Tell whether the server at `host:port` says that it serves; no answer within a second is a no.

    Raises:
        OSError: the files for TLS cannot be used.

    """
    async with open_channel(address, tls) as channel:
        check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = (
            channel.unary_unary(
                _CHECK,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING
