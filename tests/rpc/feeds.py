"""The feeds that the graph service tells of lost authors: a timeline service that keeps what it is told, and may be held up."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from feed.timeline.v1 import timeline_service_pb2 as timelines
from feed.timeline.v1 import timeline_service_pb2_grpc as timelines_grpc

from meshkit.errors import UnavailableError
from meshkit.rpc.server import serving
from meshkit.settings import MeshSettings

DESCRIPTORS = (timelines.DESCRIPTOR.services_by_name["TimelineService"],)


class Feeds(timelines_grpc.TimelineServiceServicer):
    """Takes HideAuthor, as the contract has it. `away` makes it fail; while `let_through` is cleared, calls wait.

    `versions` holds the newest with which an author was hidden, by viewer and author.
    """

    def __init__(self) -> None:
        self.address = ""
        self.away = False
        self.versions: dict[tuple[int, int], int] = {}
        self.calls = 0
        self.called = asyncio.Event()
        self.let_through = asyncio.Event()
        self.let_through.set()

    async def HideAuthor(  # noqa: N802 - gRPC's own
        self, request: timelines.HideAuthorRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> timelines.HideAuthorResponse:
        """Note the newest version with which an author is hidden."""
        self.calls += 1
        self.called.set()
        await self.let_through.wait()
        if self.away:
            raise UnavailableError("not now", reason="AWAY")
        pair = request.viewer_id, request.author_id
        self.versions[pair] = max(request.edge_version, self.versions.get(pair, 0))
        return timelines.HideAuthorResponse()


@asynccontextmanager
async def serving_feeds(settings: MeshSettings) -> AsyncIterator[Feeds]:
    """Serve feeds for the length of a block."""
    feeds = Feeds()  # type: ignore[abstract]  # the rest is unimplemented

    def register(server: grpc.aio.Server) -> None:
        timelines_grpc.add_TimelineServiceServicer_to_server(feeds, server)

    listen, services = settings.listen("127.0.0.1:0"), settings.service_tokens("timeline")
    async with serving(listen, settings.user_tokens(), services, DESCRIPTORS, register) as feeds.address:
        yield feeds
        feeds.let_through.set()
