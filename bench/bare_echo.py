"""A bare gRPC server: one process that answers every call of any method with the request. `python -m bench.bare_echo ADDRESS`."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.h2load import call
from meshkit.process import child
from meshkit.sockets import free_port

_METHOD = "/bench.Echo/Echo"


@asynccontextmanager
async def running_echo(log: Path) -> AsyncIterator[str]:
    """Run the server for the length of a block, and give its address."""
    address = f"127.0.0.1:{free_port()}"

    async def ready() -> bool:
        try:
            return await call(address, _METHOD, b"", {}) == b""
        except grpc.aio.AioRpcError:
            return False

    async with child([sys.executable, "-m", "bench.bare_echo", address], name="bare echo", log=log, ready=ready):
        yield address


class _Echo(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        async def call(request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return request

        self._handler: Any = grpc.unary_unary_rpc_method_handler(call)

    def service(self, _handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401  # gRPC's own type is wrong here
        return self._handler


async def _serve(address: str) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
