"""Runs the post service: `python -m post_svc`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from feed.post.v1 import (
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    media_service_pb2,
    media_service_pb2_grpc,
    post_service_pb2,
    post_service_pb2_grpc,
)

from meshkit.engines import open_media, open_queue, open_table
from meshkit.ids import IdGenerator
from meshkit.lifecycle import background, run, until_stopped
from meshkit.outbox import Outbox
from meshkit.queue.port import Queue
from meshkit.rpc.client import connected
from meshkit.rpc.server import serving
from meshkit.telemetry import configure_logging
from post_svc.attachments import Attachments
from post_svc.clients import VisibilityClient
from post_svc.delivery_rows import DeliveryRepository
from post_svc.delivery_service import DeliveryService
from post_svc.events import encode
from post_svc.media_rows import MediaRepository
from post_svc.media_service import MediaService
from post_svc.posts import PostRepository
from post_svc.reading import PostReader
from post_svc.service import PostService
from post_svc.servicer import DeliveryServicer, MediaServicer, PostServicer
from post_svc.settings import PostSettings
from post_svc.turned import TurnedAuthors

DESCRIPTORS = (
    post_service_pb2.DESCRIPTOR.services_by_name["PostService"],
    delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"],
    media_service_pb2.DESCRIPTOR.services_by_name["MediaService"],
)


@asynccontextmanager
async def running(settings: PostSettings, queue: Queue) -> AsyncIterator[str]:
    """Run the service, and give its address."""
    services = settings.service_tokens("post")
    opening = open_media(settings.media_url, public_url=settings.media_public_url, secret=settings.media_secret())
    async with (
        open_table(settings.table_url) as table,
        opening as store,
        connected("graph", settings.graph_address, services, VisibilityClient.CALLS, settings.tls()) as graph_peer,
    ):
        ids, outbox = IdGenerator(settings.worker), Outbox(table, queue, limit=settings.outbox_limit)
        attachments = Attachments(MediaRepository(table), store.public_url)
        visibility = VisibilityClient(graph_peer)
        reader = PostReader(PostRepository(table), visibility)
        turned = TurnedAuthors(DeliveryRepository(table))
        service = PostService(table, ids, outbox, encode, attachments, visibility, turned)
        posts = PostServicer(service, reader, settings.page_tokens())
        deliveries = DeliveryServicer(DeliveryService(table, ids, outbox, encode, turned))
        media = MediaServicer(MediaService(table, ids, store))

        def register(server: grpc.aio.Server) -> None:
            post_service_pb2_grpc.add_PostServiceServicer_to_server(posts, server)
            delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server(deliveries, server)
            media_service_pb2_grpc.add_MediaServiceServicer_to_server(media, server)

        # The server stops first: then the outbox sends what its last calls committed.
        listen = settings.listen(settings.post_listen)
        async with (
            outbox.sending(),
            background(turned.run()),
            serving(listen, settings.user_tokens(), services, DESCRIPTORS, register) as address,
        ):
            yield address


async def _alone() -> None:
    settings = PostSettings()
    configure_logging(settings.log_level)
    async with open_queue(settings.queue_url) as queue:
        await until_stopped("post", running(settings, queue))


if __name__ == "__main__":
    run(_alone())
