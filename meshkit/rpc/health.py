"""Health as callers and load balancers ask for it, which does not outlive its server."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

Context = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


class Health(health.aio.HealthServicer):
    """gRPC's own health service, with watches that can be ended.

    Every caller that balances its load holds a watch open for as long as it is connected; a server that waits for its calls to
    end would wait for them in vain.
    """

    def __init__(self) -> None:
        super().__init__()
        self._closed = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: ANN401, N802 - gRPC's own
        """Tell how a service is, now and whenever it changes, until the caller or the server goes."""
        closed = asyncio.ensure_future(self._closed.wait())
        watch = asyncio.ensure_future(super().Watch(request, context))
        try:
            await asyncio.wait((closed, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
            watch.cancel()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")

    def close(self) -> None:
        """End every watch."""
        self._closed.set()
