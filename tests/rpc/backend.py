"""A service that tells who it is, so that its callers see which process answered; `python -m tests.rpc.backend` runs it alone."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from feed.graph.v1 import follow_service_pb2 as follows
from feed.graph.v1 import follow_service_pb2_grpc as follows_grpc
from feed.post.v1 import post_service_pb2 as posts
from feed.post.v1 import post_service_pb2_grpc as posts_grpc

from meshkit import tracing
from meshkit.errors import UnavailableError
from meshkit.lifecycle import run, until_stopped
from meshkit.process import Child, child
from meshkit.rpc.server import Listen, serving
from meshkit.settings import MeshSettings
from meshkit.telemetry import configure_logging

DESCRIPTORS = (
    follows.DESCRIPTOR.services_by_name["FollowService"],
    posts.DESCRIPTOR.services_by_name["PostService"],
)
BROKEN = 666  # a user, or a post, that makes the service fail in a way it does not know
Context = grpc.aio.ServicerContext[Any, Any]


async def _at_once() -> None:
    """Do not hold a call up."""


@dataclass(slots=True)
class Seen:
    """What a service saw of its calls; each is held up by `before`.

    With `drops` each ends in what gRPC tells a caller whose server went away while it worked.
    """

    identity: int = field(default_factory=os.getpid)
    calls: int = 0
    seconds_left: float = 0
    peers: set[str] = field(default_factory=set)
    traces: set[str] = field(default_factory=set)
    before: Callable[[], Awaitable[object]] = _at_once
    drops: bool = False

    async def note(self, context: Context) -> None:
        """Count a call."""
        self.calls += 1
        self.seconds_left = context.time_remaining() or 0
        self.peers.add(context.peer())
        self.traces.add(tracing.trace_id())
        if self.drops:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection ended")
        await self.before()

    async def reconnected(self, times: int) -> bool:
        """Tell whether calls came over so many connections and one more."""
        return len(self.peers) > times


class Follows(follows_grpc.FollowServiceServicer):
    """Edges: an idempotent method for services."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def ListFolloweeIds(  # noqa: N802 - gRPC's own
        self, request: follows.ListFolloweeIdsRequest, context: Context
    ) -> follows.ListFolloweeIdsResponse:
        """Tell who answers."""
        await self._seen.note(context)
        if request.user_id == BROKEN:
            raise LookupError("broken")
        return follows.ListFolloweeIdsResponse(followee_ids=[self._seen.identity])


class Posts(posts_grpc.PostServiceServicer):
    """Posts: a method that may be called twice, and one that may not."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._ids = count(1)

    async def GetPost(self, request: posts.GetPostRequest, context: Context) -> posts.GetPostResponse:  # noqa: N802 - gRPC's own
        """Tell who answers."""
        await self._seen.note(context)
        response = posts.GetPostResponse()
        response.post.post_id, response.post.user_id = request.post_id, self._seen.identity
        return response

    async def CreatePost(  # noqa: N802 - gRPC's own
        self, request: posts.CreatePostRequest, context: Context
    ) -> posts.CreatePostResponse:
        """Tell who answers."""
        await self._seen.note(context)
        response = posts.CreatePostResponse()
        response.post.post_id, response.post.user_id = next(self._ids), self._seen.identity
        response.post.content = request.content
        return response


@asynccontextmanager
async def backend(settings: MeshSettings, address: str, seen: Seen | None = None, **listen: object) -> AsyncIterator[str]:
    """Serve both in this process, and give the address."""
    seen = seen or Seen()

    def register(server: grpc.aio.Server) -> None:
        follows_grpc.add_FollowServiceServicer_to_server(Follows(seen), server)  # type: ignore[abstract]  # the rest is unimplemented
        posts_grpc.add_PostServiceServicer_to_server(Posts(seen), server)  # type: ignore[abstract]

    how: Listen = replace(settings.listen(address), **listen)  # type: ignore[arg-type]  # a test says what it wants
    async with serving(how, settings.user_tokens(), settings.service_tokens("backend"), DESCRIPTORS, register) as bound:
        yield bound


@asynccontextmanager
async def process(
    address: str, common: dict[str, object], log: Path, *, delay: float = 0, **settings: object
) -> AsyncIterator[Child]:
    """Run a process that serves both, each call after some seconds; it gets the settings as its environment."""
    environment = {f"FEEDMESH_{name.upper()}": str(value) for name, value in (common | settings).items()}

    async def ready() -> bool:
        return b'"serving"' in await asyncio.to_thread(log.read_bytes)

    argv = [sys.executable, "-m", "tests.rpc.backend", address, str(delay)]
    async with child(argv, name="backend", log=log, ready=ready, env={**os.environ, **environment}, grace=20) as running:
        yield running


async def _alone(address: str, delay: float) -> None:
    settings = MeshSettings()
    configure_logging(settings.log_level)
    await until_stopped("backend", backend(settings, address, Seen(before=partial(asyncio.sleep, delay))))


async def unavailable() -> None:
    """Answer as a service that cannot do anything now."""
    raise UnavailableError("not now", reason="AWAY")


if __name__ == "__main__":
    run(_alone(sys.argv[1], float(sys.argv[2])))
