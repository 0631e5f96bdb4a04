"""Calling another service: one channel to it, a deadline on every call, and its failures in our own words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from meshkit.auth import ServiceTokens
from meshkit.errors import from_rpc_error
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

MAX_RESPONSE_BYTES = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class Peer:
    """Another service, as one of the mesh's services calls it."""

    name: str
    channel: grpc.aio.Channel
    tokens: ServiceTokens

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, seconds: float
    ) -> Response:
        """Call a method, within a deadline.

        Raises:
            NotFoundError, OverloadedError: as the service says.
            UnavailableError: whatever else goes wrong.

        """
        try:
            return await method(request, timeout=seconds, metadata=((SERVICE_TOKEN_METADATA, self.tokens.mint()),))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.name) from error


@asynccontextmanager
async def connected(name: str, address: str, tokens: ServiceTokens) -> AsyncIterator[Peer]:
    """Give a peer at `host:port`; it connects by itself, also again."""
    options = [
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Peer(name, channel, tokens)
