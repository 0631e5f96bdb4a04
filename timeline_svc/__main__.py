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
from timeline_svc.delivery import Delivery, SourceChanges
from timeline_svc.explain import Explainer
from timeline_svc.feed import HomeFeed
from timeline_svc.home_timelines import HomeTimelines
from timeline_svc.older import OlderPosts
from timeline_svc.post_cache import Loads, PostCache
from timeline_svc.pull import Puller, Recent
from timeline_svc.pulled import PulledAuthors
from timeline_svc.rebuild import Rebuilder
from timeline_svc.redis_store import open_redis
from timeline_svc.segment import Segment
from timeline_svc.servicer import TimelineServicer, frame_item
from timeline_svc.settings import PRIVATE_SERVER, TimelineSettings
from timeline_svc.turns import Turns

DESCRIPTORS = (timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"],)


@asynccontextmanager
async def running(settings: TimelineSettings, queue: Queue) -> AsyncIterator[str]:
    """Run the service, and give its address."""
    services = settings.service_tokens("timeline")
    async with (
        open_redis(settings.redis_url, inactive_days=settings.inactive_days) as store,
        connected("graph", settings.graph_address, services, GraphClient.CALLS, settings.tls()) as graph_peer,
        connected("post", settings.post_address, services, PostsClient.CALLS, settings.tls()) as post_peer,
        Loads() as loads,
        SingleFlight[int, None]() as rebuilds,
        SingleFlight[int, dict[int, Recent]]() as pulls,
        SingleFlight[int, Segment]() as segments,
    ):
        graph, posts = GraphClient(graph_peer), PostsClient(post_peer)
        cache = PostCache(posts, frame_item, loads, capacity=settings.cached_bytes, seconds=settings.cached_seconds)
        puller, turns = Puller(store, posts), Turns(posts)
        pulled = PulledAuthors(puller, pulls)
        timelines = HomeTimelines(store, Rebuilder(store, puller, graph, turns), rebuilds, turns)
        older = OlderPosts(store, puller, graph, segments)
        feed = HomeFeed(timelines, older, pulled, puller, graph, cache)
        sources, explainer = SourceChanges(store, puller, graph, turns), Explainer(timelines, pulled, graph, posts)
        servicer = TimelineServicer(feed, Delivery(store), sources, explainer, settings.page_tokens())

        def register(server: grpc.aio.Server) -> None:
            timeline_service_pb2_grpc.add_TimelineServiceServicer_to_server(servicer, server)

        async with (
            consuming(queue, sources, cache),
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
