"""Runs the graph service: `python -m graph_svc`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from feed.graph.v1 import (
    block_service_pb2,
    block_service_pb2_grpc,
    follow_request_service_pb2,
    follow_request_service_pb2_grpc,
    follow_service_pb2,
    follow_service_pb2_grpc,
    mute_service_pb2,
    mute_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
    visibility_service_pb2,
    visibility_service_pb2_grpc,
)

from graph_svc.accounts import UserService
from graph_svc.blocks import BlockService
from graph_svc.changes import Changes
from graph_svc.clients import FeedsClient
from graph_svc.events import encode
from graph_svc.follow_requests import FollowRequestService
from graph_svc.follows import FollowService
from graph_svc.lost_feeds import LostFeeds
from graph_svc.mutes import MuteService
from graph_svc.servicers.blocks import BlockServicer
from graph_svc.servicers.follow_requests import FollowRequestServicer
from graph_svc.servicers.follows import FollowServicer
from graph_svc.servicers.mutes import MuteServicer
from graph_svc.servicers.users import UserServicer
from graph_svc.servicers.visibility import VisibilityServicer
from graph_svc.settings import GraphSettings
from graph_svc.ties import TieRepository
from graph_svc.user_rows import UserRepository
from graph_svc.visibility import VisibilityService
from meshkit.engines import open_queue, open_table
from meshkit.ids import IdGenerator
from meshkit.lifecycle import run, until_stopped
from meshkit.outbox import Outbox
from meshkit.queue.port import Queue
from meshkit.rpc.client import connected
from meshkit.rpc.server import serving
from meshkit.telemetry import configure_logging

DESCRIPTORS = (
    user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
    follow_service_pb2.DESCRIPTOR.services_by_name["FollowService"],
    follow_request_service_pb2.DESCRIPTOR.services_by_name["FollowRequestService"],
    block_service_pb2.DESCRIPTOR.services_by_name["BlockService"],
    mute_service_pb2.DESCRIPTOR.services_by_name["MuteService"],
    visibility_service_pb2.DESCRIPTOR.services_by_name["VisibilityService"],
)


@asynccontextmanager
async def running(settings: GraphSettings, queue: Queue) -> AsyncIterator[str]:
    """Run the service, and give its address."""
    services, tokens = settings.service_tokens("graph"), settings.page_tokens()
    async with (
        open_table(settings.table_url) as table,
        connected("timeline", settings.timeline_address, services, FeedsClient.CALLS, settings.tls()) as timeline_peer,
    ):
        ids, outbox = IdGenerator(settings.worker), Outbox(table, queue, limit=settings.outbox_limit)
        users, ties = UserRepository(table), TieRepository(table)
        changes, feeds = Changes(table, ids, outbox, encode), LostFeeds(ties, FeedsClient(timeline_peer))
        accounts = UserServicer(UserService(table, users, ids), open_signup=settings.signup == "open")
        follows = FollowServicer(FollowService(users, ties, changes, feeds), tokens)
        requests = FollowRequestServicer(FollowRequestService(users, ties, changes), tokens)
        blocks = BlockServicer(BlockService(users, ties, changes, feeds), tokens)
        mutes = MuteServicer(MuteService(users, ties, changes, feeds), tokens)
        visibility = VisibilityServicer(VisibilityService(ties))

        def register(server: grpc.aio.Server) -> None:
            user_service_pb2_grpc.add_UserServiceServicer_to_server(accounts, server)
            follow_service_pb2_grpc.add_FollowServiceServicer_to_server(follows, server)
            follow_request_service_pb2_grpc.add_FollowRequestServiceServicer_to_server(requests, server)
            block_service_pb2_grpc.add_BlockServiceServicer_to_server(blocks, server)
            mute_service_pb2_grpc.add_MuteServiceServicer_to_server(mutes, server)
            visibility_service_pb2_grpc.add_VisibilityServiceServicer_to_server(visibility, server)

        listen = settings.listen(settings.graph_listen)
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
