"""Runs the timeline service: `python -m timeline_svc`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from feed.timeline.v1 import timeline_service_pb2, timeline_service_pb2_grpc

from meshkit.engines import open_queue
from meshkit.lifecycle import run, until_stopped
from meshkit.queue.port import Queue
from meshkit.rpc.client import connected
from meshkit.rpc.server import serving
from meshkit.single_flight import SingleFlight
from meshkit.telemetry import configure_logging
from meshkit.valkey import private_valkey
from timeline_svc.clients import GraphClient, PostsClient
from timeline_svc.consumer import consuming
from timeline_svc.delivery import Delivery, FollowChanges
from timeline_svc.feed import HomeFeed
from timeline_svc.post_cache import Loads, PostCache
from timeline_svc.pull import Puller
from timeline_svc.redis_store import open_redis
from timeline_svc.servicer import TimelineServicer, frame_item
from timeline_svc.settings import PRIVATE_SERVER, TimelineSettings

DESCRIPTORS = (timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"],)


@asynccontextmanager
async def running(settings: TimelineSettings, queue: Queue) -> AsyncIterator[str]:
    """Run the service, and give its address."""
    services = settings.service_tokens("timeline")
    async with (
        open_redis(settings.redis_url) as store,
        connected("graph", settings.graph_address, services, GraphClient.CALLS, settings.tls()) as graph_peer,
        connected("post", settings.post_address, services, PostsClient.CALLS, settings.tls()) as post_peer,
        Loads() as loads,
        SingleFlight[int, None]() as rebuilds,
    ):
        graph, posts = GraphClient(graph_peer), PostsClient(post_peer)
        cache = PostCache(posts, frame_item, loads, capacity=settings.cached_bytes, seconds=settings.cached_seconds)
        puller = Puller(store, posts, graph)
        servicer = TimelineServicer(HomeFeed(store, puller, cache, rebuilds), Delivery(store), settings.page_tokens())

        def register(server: grpc.aio.Server) -> None:
            timeline_service_pb2_grpc.add_TimelineServiceServicer_to_server(servicer, server)

        async with (
            consuming(queue, FollowChanges(store, puller, graph), cache),
            serving(settings.listen(settings.timeline_listen), settings.user_tokens(), services, DESCRIPTORS, register) as address,
        ):
            yield address


@asynccontextmanager
async def _with_own_store(settings: TimelineSettings, queue: Queue) -> AsyncIterator[str]:
    if settings.redis_url != PRIVATE_SERVER:
        async with running(settings, queue) as address:
            yield address
        return
    async with (
        private_valkey(settings.data_dir) as url,
        running(settings.model_copy(update={"redis_url": url}), queue) as address,
    ):
        yield address


async def _alone() -> None:
    settings = TimelineSettings()
    if settings.queue_url == "memory://":
        # From another process nobody can tell that a post changed: copies are believed only as long as a change may take to show.
        settings = settings.model_copy(update={"cached_seconds": min(1.0, settings.cached_seconds)})
    configure_logging(settings.log_level)
    async with open_queue(settings.queue_url) as queue:
        await until_stopped("timeline", _with_own_store(settings, queue))


if __name__ == "__main__":
    run(_alone())
