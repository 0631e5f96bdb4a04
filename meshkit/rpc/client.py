"""Calling another service: one channel to all its processes, and its failures in our own words."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from meshkit import tracing
from meshkit.auth import ServiceTokens
from meshkit.errors import from_rpc_error
from meshkit.rpc.addresses import target
from meshkit.rpc.calls import Call, deadlines, service_config
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.rpc.tls import Tls

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

MAX_RESPONSE_BYTES = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class Peer:
    """Another service, as one of the mesh's services calls it."""

    name: str
    channel: grpc.aio.Channel
    tokens: ServiceTokens
    seconds: Mapping[str, float]

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Call a method that was declared when the peer was connected.

        Raises:
            KeyError: it was not, so it has no deadline.
            NotFoundError, OverloadedError: as the service says.
            UnavailableError: whatever else goes wrong.

        """
        try:
            return await method(request, timeout=self.seconds[request.DESCRIPTOR.full_name], metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.name) from error

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = (SERVICE_TOKEN_METADATA, self.tokens.mint())
        header = tracing.traceparent()
        return (token, (tracing.HEADER, header)) if header else (token,)


@asynccontextmanager
async def connected(
    name: str, address: str, tokens: ServiceTokens, calls: Collection[Call], tls: Tls | None = None
) -> AsyncIterator[Peer]:
    """Give a peer at an address as `meshkit.rpc.addresses` has it. It connects by itself, also again.

    Calls go to the peer's processes in turn, but not to those that say that they do not serve.

    Raises:
        ValueError: the address is none.
        OSError: the files for TLS cannot be used.

    """
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", service_config(calls)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        # A peer that is frozen, or cut off, is given up within 13 s; no server minds pings this rare.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A name is looked up again when a connection ends; new processes behind it are found then.
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ]
    async with open_channel(address, tls, options) as channel:
        yield Peer(name, channel, tokens, deadlines(calls))


def open_channel(address: str, tls: Tls | None, options: Sequence[tuple[str, str | int]] = ()) -> grpc.aio.Channel:
    """Open a channel to an address, with TLS or without.

    Raises:
        ValueError, OSError: as `connected`.

    """
    if not tls:
        return grpc.aio.insecure_channel(target(address), options)
    # The servers have addresses; their certificates have a name.
    named = [*options, ("grpc.ssl_target_name_override", tls.name)]
    return grpc.aio.secure_channel(target(address), tls.client(), named)
