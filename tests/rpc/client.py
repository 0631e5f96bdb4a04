"""How the tests call services: typed stubs over one channel, and errors taken apart."""

from __future__ import annotations  # the asynchronous stubs have types of their own only for type checkers

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import grpc
from feed.graph.v1 import (
    block_service_pb2_grpc,
    follow_request_service_pb2_grpc,
    follow_service_pb2_grpc,
    mute_service_pb2_grpc,
    user_service_pb2_grpc,
    visibility_service_pb2_grpc,
)
from feed.post.v1 import media_service_pb2_grpc, post_service_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from graph_svc.settings import GraphSettings
from meshkit.errors import DOMAIN
from meshkit.issuer import Issuer
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.settings import MeshSettings
from post_svc.settings import PostSettings

T = TypeVar("T")
PATIENCE = 20.0
ANY_PORT = "127.0.0.1:0"
Metadata = tuple[tuple[str, str], ...]


class Page(Protocol):
    """What every page of a listing has."""

    @property
    def next_page_token(self) -> str:
        """Ask for the next page with it."""


P = TypeVar("P", bound=Page)


@dataclass(frozen=True, slots=True)
class Stubs:
    """A service's stubs. Each service registers only its own."""

    users: user_service_pb2_grpc.UserServiceAsyncStub
    follows: follow_service_pb2_grpc.FollowServiceAsyncStub
    posts: post_service_pb2_grpc.PostServiceAsyncStub
    media: media_service_pb2_grpc.MediaServiceAsyncStub
    requests: follow_request_service_pb2_grpc.FollowRequestServiceAsyncStub
    blocks: block_service_pb2_grpc.BlockServiceAsyncStub
    mutes: mute_service_pb2_grpc.MuteServiceAsyncStub
    visibility: visibility_service_pb2_grpc.VisibilityServiceAsyncStub
    channel: grpc.aio.Channel


@asynccontextmanager
async def stubs(address: str) -> AsyncIterator[Stubs]:
    """Connect to a service."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield Stubs(
            user_service_pb2_grpc.UserServiceStub(channel),
            follow_service_pb2_grpc.FollowServiceStub(channel),
            post_service_pb2_grpc.PostServiceStub(channel),
            media_service_pb2_grpc.MediaServiceStub(channel),
            follow_request_service_pb2_grpc.FollowRequestServiceStub(channel),
            block_service_pb2_grpc.BlockServiceStub(channel),
            mute_service_pb2_grpc.MuteServiceStub(channel),
            visibility_service_pb2_grpc.VisibilityServiceStub(channel),
            channel,
        )


def raw(connected: Stubs, path: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Give a method that takes and gives bytes."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = connected.channel.unary_unary(path, bytes, bytes)
    return call


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes the metadata of calls, from the keys in a data folder."""

    settings: MeshSettings

    def user(self, user_id: int, *, scope: str = "", lifetime: timedelta = timedelta(hours=1)) -> Metadata:
        """Speak for a user."""
        token = self.issuer.user_token(user_id, scope=scope, lifetime=lifetime)
        return (("authorization", f"Bearer {token}"),)

    def service(self, name: str = "timeline") -> Metadata:
        """Speak for a service of the mesh."""
        return ((SERVICE_TOKEN_METADATA, self.settings.service_tokens(name).mint()),)

    @property
    def issuer(self) -> Issuer:
        """The development issuer."""
        return Issuer.load_or_create(self.settings.keys_dir)


def graph_settings(common: dict[str, object], **more: object) -> GraphSettings:
    """Make settings of a graph service on a free port."""
    return GraphSettings.model_validate(common | {"graph_listen": ANY_PORT, "signup": "open"} | more)


def post_settings(common: dict[str, object], **more: object) -> PostSettings:
    """Make settings of a post service on a free port."""
    return PostSettings.model_validate(common | {"post_listen": ANY_PORT, "worker": 1} | more)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its caller sees it."""

    code: grpc.StatusCode
    reason: str
    fields: tuple[str, ...]
    text: str


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Take an error apart. Its google.rpc.Status has to agree with the gRPC status; rpc_status checks that."""
    reason, fields = "", tuple[str, ...]()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what is read: code, details, metadata
    for detail in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            assert info.domain == DOMAIN
            reason = info.reason
        elif detail.Unpack(bad):
            assert all(violation.description for violation in bad.field_violations)
            fields = tuple(violation.field for violation in bad.field_violations)
    return Failure(error.code(), reason, fields, error.details() or "")


@contextmanager
def refused(code: grpc.StatusCode, reason: str, *fields: str) -> Iterator[None]:
    """Demand that the call in the block fails with exactly this code, reason and these wrong fields."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        failure = failure_of(error)
        assert (failure.code, failure.reason, failure.fields) == (code, reason, fields), failure
    else:
        raise AssertionError(f"the call was not refused with {reason}")


async def outcome(call: Awaitable[T]) -> T | Failure:
    """Await a call, and give its failure as a value."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that nobody announces."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110  # there is nothing to wait for but the condition
            await asyncio.sleep(0.005)


async def pages(fetch: Callable[[str], Awaitable[P]], *, between: Callable[[], Awaitable[object]] | None = None) -> list[P]:
    """Page to the end, doing something between the pages."""
    found = [await fetch("")]
    while found[-1].next_page_token:
        if between:
            await between()
        found.append(await fetch(found[-1].next_page_token))
        assert len(found) < 1_000, "paging does not end"
    return found


def tampered(token: str) -> Sequence[str]:
    """Give a token with each of some characters changed, cut short, and made longer."""
    changed = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in (0, 7, len(token) // 2)]
    return [*changed, token[:-4], token[4:], token + "AAAA", "not a token", "ünïcode", "%", "A" * 512]


@contextlib.asynccontextmanager
async def task_of(call: Awaitable[T]) -> AsyncIterator[asyncio.Future[T]]:
    """Run a call beside the block; whatever happens, it is over after it."""
    running = asyncio.ensure_future(call)
    try:
        yield running
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await running
