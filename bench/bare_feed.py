"""A bare gRPC server: one process that answers every call of one method with the same bytes. `python -m bench.bare_feed …`."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

_METHOD = "/feed.timeline.v1.TimelineService/GetHomeTimeline"


class _Bare(grpc.GenericRpcHandler):
    def __init__(self, answer: bytes) -> None:
        async def call(_request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return answer

        self._handler: Any = grpc.unary_unary_rpc_method_handler(call)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401  # gRPC's own type is wrong here
        return self._handler if handler_call_details.method == _METHOD else None


async def _serve(address: str, answer: bytes) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Bare(answer),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    _, address, answer = sys.argv
    uvloop.run(_serve(address, Path(answer).read_bytes()))
