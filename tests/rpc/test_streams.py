"""Server streams behind the edge: guarded like other calls, and over when their caller goes."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from feed.graph.v1 import follow_service_pb2 as follows

from meshkit import tracing
from meshkit.errors import NotFoundError
from meshkit.rpc.edge import Edge, EdgeInterceptor
from meshkit.settings import MeshSettings
from tests.rpc.client import PATIENCE, Tokens, refused, until

Common = dict[str, object]


class Watching:
    """A stream that tells its trace and then waits, and whether it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def watch(self, request: follows.ListFolloweeIdsRequest, _context: object) -> AsyncIterator[Any]:
        """Say two things, and wait; user 404 is missing after the first."""
        try:
            yield follows.ListFolloweeIdsResponse(followee_ids=[1])
            if request.user_id == 404:
                raise NotFoundError("gone", reason="GONE")
            yield follows.ListFolloweeIdsResponse(followee_ids=[int(tracing.trace_id() or "0", 16)])
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@asynccontextmanager
async def served(common: Common, watching: Watching) -> AsyncIterator[tuple[grpc.aio.Channel, Edge]]:
    """Run a server with the stream, and connect to it."""
    settings = MeshSettings.model_validate(common)
    edge = Edge(settings.user_tokens(), settings.service_tokens("x"), {}, max_calls=1)
    server = grpc.aio.server(interceptors=[EdgeInterceptor(edge)])
    handler: Any = grpc.unary_stream_rpc_method_handler(watching.watch, follows.ListFolloweeIdsRequest.FromString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.Y", {"Watch": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(PATIENCE):
            yield channel, edge
    finally:
        await server.stop(0)


def call(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], user_id: int = 1) -> Any:  # noqa: ANN401 - gRPC's own
    """Begin the stream."""
    method = channel.unary_stream(
        "/x.Y/Watch",
        request_serializer=follows.ListFolloweeIdsRequest.SerializeToString,
        response_deserializer=follows.ListFolloweeIdsResponse.FromString,
    )
    return method(follows.ListFolloweeIdsRequest(user_id=user_id), metadata=metadata)


async def test_a_stream_is_closed_when_its_caller_goes(common: Common, tokens: Tokens) -> None:
    """A caller gets what is said, in its own trace, and when it goes the stream ends at once and makes room for another."""
    watching = Watching()
    async with served(common, watching) as (channel, edge):
        trace = (tracing.HEADER, f"00-{'0' * 31}5-{'b' * 16}-01")
        stream = call(channel, (*tokens.service(), trace))
        assert [(await anext(aiter(stream))).followee_ids[0] for _ in range(2)] == [1, 5]
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"):
            await anext(aiter(call(channel, tokens.service())))
        stream.cancel()
        await watching.closed.wait()

        async def room() -> bool:
            return edge.calls == 0

        await until(room)


async def test_a_stream_is_guarded_and_its_errors_are_told(common: Common, tokens: Tokens) -> None:
    """Without a token there is no stream, and a domain error in the middle ends it with its status."""
    async with served(common, Watching()) as (channel, _):
        with refused(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"):
            await anext(aiter(call(channel, ())))
        told = aiter(call(channel, tokens.service(), 404))
        assert (await anext(told)).followee_ids == [1]
        with refused(grpc.StatusCode.NOT_FOUND, "GONE"):
            await anext(told)
