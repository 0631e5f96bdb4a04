"""What stands between the network and every servicer: who calls, may they, is the request valid, what went wrong."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from feed.rules.v1 import rules_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from meshkit import tracing
from meshkit.auth import Caller, ServiceTokens, UserTokens
from meshkit.errors import FeedmeshError, OverloadedError, PermissionDeniedError, UnauthenticatedError, to_status
from meshkit.rpc.limits import Limit, Limits
from meshkit.rpc.validation import validate

SERVICE_TOKEN_METADATA = "x-feedmesh-service"  # noqa: S105 - the name of a header
# Tells gRPC not to send a call again, whatever its caller's retry policy says (gRFC A6). UNAVAILABLE is also the status of a call
# whose server went away, and only such a call is worth another try.
_ANSWERED = ("grpc-retry-pushback-ms", "-1")
_UNTRACED = nullcontext()
_OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")

Metadata = Mapping[str, str | bytes]

_caller: ContextVar[Caller] = ContextVar("caller")
# The interceptor runs in the context of the call that it lets through.
_metadata: ContextVar[Iterable[tuple[str, str | bytes]] | None] = ContextVar("metadata")
_log = structlog.get_logger(__name__)


def caller() -> Caller:
    """Tell who made the call that is being answered."""
    return _caller.get()


@dataclass(slots=True)
class Edge:
    """A service's edge: `max_calls` bounds the calls under way, `max_seconds` each unary one, whatever deadline its caller gave."""

    users: UserTokens
    services: ServiceTokens
    access: dict[str, rules_pb2.Access.ValueType]
    max_calls: int
    max_seconds: float = 30.0
    calls: int = 0
    last_call: float = 0.0
    limits: Limits = field(default_factory=Limits)
    room: _Room = field(init=False)

    def __post_init__(self) -> None:
        self.room = _Room(self)

    def seconds(self, remaining: float | None) -> float:
        """Tell how long a unary call may take of which its caller says how long it will wait; None: for ever."""
        return self.max_seconds if remaining is None else min(remaining, self.max_seconds)

    def admit(self, method: str, metadata: Metadata) -> Caller:
        """Tell who calls, if they may call the method.

        Raises:
            UnauthenticatedError: a token is missing or wrong.
            PermissionDeniedError: the method is for services only.

        """
        service_token = metadata.get(SERVICE_TOKEN_METADATA)
        if service_token is not None:
            return self.services.verify(_text(service_token))
        access = self.access.get(method, rules_pb2.ACCESS_UNSPECIFIED)
        who = self._user(_text(metadata.get("authorization", "")), required=access != rules_pb2.ACCESS_PUBLIC)
        if access == rules_pb2.ACCESS_UNSPECIFIED:
            raise PermissionDeniedError("only the mesh's own services may call this", reason="SERVICES_ONLY")
        return who

    def _user(self, authorization: str, *, required: bool) -> Caller:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            return self.users.verify(token)
        if authorization or required:
            raise UnauthenticatedError("send a user token: `authorization: Bearer <JWT>`", reason="TOKEN_MISSING")
        return Caller()


class _Room:
    """Counts calls as under way, each for the length of a block; OverloadedError when these are too many.

    Health checks are not counted: a busy service is not a sick one.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def __enter__(self) -> None:
        edge = self._edge
        if edge.calls >= edge.max_calls:
            raise OverloadedError("the service has too much to do; try again", reason="TOO_MANY_CALLS")
        edge.calls += 1
        edge.last_call = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._edge.calls -= 1


def access_of(methods: list[MethodDescriptor]) -> dict[str, rules_pb2.Access.ValueType]:
    """Read from the contract who may call each method, by the method's path."""
    return {
        f"/{method.containing_service.full_name}/{method.name}": method.GetOptions().Extensions[rules_pb2.access]
        for method in methods
    }


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """Puts the edge around every method. Health and reflection pass."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Give the method's guarded handler; each is made once."""
        # gRPC makes the metadata anew for whoever asks the call's context for it.
        _metadata.set(handler_call_details.invocation_metadata)
        method = handler_call_details.method
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(_OPEN_SERVICES):
                return handler
            guarded = self._guarded[method] = self._guard(method, handler)
        return guarded

    def _guard(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _guarded_unary(self._edge, method, handler.unary_unary),
                request_deserializer=handler.request_deserializer,
                response_serializer=_serialize,
            )
        if handler.unary_stream and inspect.isasyncgenfunction(handler.unary_stream):
            return grpc.unary_stream_rpc_method_handler(
                _guarded_stream(self._edge, method, handler.unary_stream),
                request_deserializer=handler.request_deserializer,
                response_serializer=_serialize,
            )
        raise TypeError(f"{method}: only unary calls and server streams that are async generators can be served")


def _guarded_unary(edge: Edge, method: str, behaviour: Callable[..., Awaitable[Message]]) -> Callable[..., Awaitable[Message]]:
    async def call(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        started = time.perf_counter()
        metadata = dict(_metadata.get() or ())
        with _trace(metadata):
            try:
                token = _caller.set(edge.admit(method, metadata))
                try:
                    validate(request)
                    with edge.room, Limit(edge.limits, edge.seconds(context.time_remaining())):
                        return await behaviour(request, context)
                finally:
                    _caller.reset(token)
            except Exception as error:
                await _abort(context, method, error, time.perf_counter() - started)
                raise

    return call


def _guarded_stream(
    edge: Edge, method: str, behaviour: Callable[..., AsyncGenerator[Message, None]]
) -> Callable[..., Awaitable[None]]:
    # No generator itself: a caller who goes would leave it to the garbage collector, and with it its room and its trace.
    async def call(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        started = time.perf_counter()
        metadata = dict(_metadata.get() or ())
        with _trace(metadata):
            try:
                _caller.set(edge.admit(method, metadata))
                validate(request)
                with edge.room:
                    async with aclosing(behaviour(request, context)) as responses:
                        async for response in responses:
                            await context.write(response)
            except Exception as error:
                await _abort(context, method, error, time.perf_counter() - started)
                raise

    return call


def _trace(metadata: Metadata) -> AbstractContextManager[None]:
    """Let a call belong to its caller's trace, if it has one."""
    header = metadata.get(tracing.HEADER)
    return tracing.continued(_text(header)) if header else _UNTRACED


async def _abort(context: grpc.aio.ServicerContext[Any, Any], method: str, error: Exception, seconds: float) -> None:
    """End the call with the error's status; what is not our own kind of error is logged, and hidden from the caller."""
    if isinstance(error, grpc.aio.AbortError):
        return
    if isinstance(error, FeedmeshError):
        status = to_status(error)
        await context.abort(status.code, status.details, (*status.trailing_metadata, _ANSWERED))
    if isinstance(error, TimeoutError):
        _log.warning("deadline exceeded", method=method, seconds=round(seconds, 3))
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline is over; the call may have been done")
    _log.error("unexpected failure", method=method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")


def _serialize(response: Message | bytes) -> bytes:
    """Encode a response; what a servicer has encoded itself passes."""
    return response if isinstance(response, bytes) else response.SerializeToString()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
