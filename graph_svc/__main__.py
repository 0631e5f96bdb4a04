"""Runs the graph service: `python -m graph_svc`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from feed.graph.v1 import follow_service_pb2, follow_service_pb2_grpc, user_service_pb2, user_service_pb2_grpc

from graph_svc.events import encode
from graph_svc.service import FollowService, UserService
from graph_svc.servicer import FollowServicer, UserServicer
from graph_svc.settings import GraphSettings
from meshkit.engines import open_queue, open_table
from meshkit.ids import IdGenerator
from meshkit.lifecycle import run, until_stopped
from meshkit.outbox import Outbox
from meshkit.queue.port import Queue
from meshkit.rpc.server import serving
from meshkit.telemetry import configure_logging

DESCRIPTORS = (
    user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
    follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"],
)


@asynccontextmanager
async def running(settings: GraphSettings, queue: Queue) -> AsyncIterator[str]:
    """Run the service, and give its address."""
    async with open_table(settings.table_url) as table:
        ids = IdGenerator(settings.worker)
        outbox = Outbox(table, queue, limit=settings.outbox_limit)
        users = UserServicer(UserService(table, ids), open_signup=settings.signup == "open")
        follows = FollowServicer(FollowService(table, ids, outbox, encode), settings.page_tokens())

        def register(server: grpc.aio.Server) -> None:
            user_service_pb2_grpc.add_UserServiceServicer_to_server(users, server)
            follow_service_pb2_grpc.add_FollowServiceServicer_to_server(follows, server)

        listen, services = settings.listen(settings.graph_listen), settings.service_tokens("graph")
        # The server stops first: then the outbox sends what its last calls committed.
        async with outbox.sending(), serving(listen, settings.user_tokens(), services, DESCRIPTORS, register) as address:
            yield address


async def _alone() -> None:
    settings = GraphSettings()
    configure_logging(settings.log_level)
    async with open_queue(settings.queue_url) as queue:
        await until_stopped("graph", running(settings, queue))


if __name__ == "__main__":
    run(_alone())
