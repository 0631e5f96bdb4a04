"""Runs the fan-out service: `python -m fanout_svc`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc

from fanout_svc.authors import AuthorRepository
from fanout_svc.clients import DeliveriesClient, FollowersClient, TimelinesClient
from fanout_svc.consumer import ChunkQueue, Concurrency, consuming
from fanout_svc.ending import Ending
from fanout_svc.jobs import SWEEPER_LEASE, JobRepository
from fanout_svc.ports import Peers
from fanout_svc.reach import Reach
from fanout_svc.sending import Sender
from fanout_svc.service import Planner, Worker
from fanout_svc.servicer import FanoutServicer
from fanout_svc.settings import FanoutSettings
from fanout_svc.steering import Steering
from fanout_svc.sweeper import Sweeper
from meshkit.engines import open_queue, open_table
from meshkit.lease import Lease
from meshkit.lifecycle import background, run, until_stopped
from meshkit.queue.port import Queue
from meshkit.rpc.client import connected
from meshkit.rpc.server import serving
from meshkit.telemetry import configure_logging

DESCRIPTORS = (fanout_service_pb2.DESCRIPTOR.services_by_name["FanoutService"],)


@asynccontextmanager
async def running(settings: FanoutSettings, queue: Queue) -> AsyncIterator[str]:
    """Run the service, and give its address."""
    services = settings.service_tokens("fanout")
    async with open_table(settings.table_url) as table, _peers(settings) as peers:
        jobs = JobRepository(table)
        steering = Steering(AuthorRepository(table), peers.deliveries, settings.policy())
        ending = Ending(jobs, peers.deliveries, steering)
        sender = Sender(jobs, ending, ChunkQueue(queue))
        reach = Reach(peers, batch_size=settings.batch_size)
        planner = Planner(peers, jobs, reach, sender, steering, chunk_size=settings.chunk_size)
        worker = Worker(jobs, reach, ending)
        lease = Lease.every(table, SWEEPER_LEASE, settings.sweep_seconds)
        sweeper = Sweeper(jobs, sender, lease, late_seconds=settings.late_seconds, every_seconds=settings.sweep_seconds)
        servicer = FanoutServicer(jobs, steering, queue, settings.page_tokens())

        def register(server: grpc.aio.Server) -> None:
            fanout_service_pb2_grpc.add_FanoutServiceServicer_to_server(servicer, server)

        async with (
            consuming(queue, planner, worker, Concurrency(settings.planners, settings.workers, settings.bulk_workers)),
            background(sender.run(), sweeper.run()),
            serving(settings.listen(settings.fanout_listen), settings.user_tokens(), services, DESCRIPTORS, register) as address,
        ):
            yield address


@asynccontextmanager
async def _peers(settings: FanoutSettings) -> AsyncIterator[Peers]:
    services, tls = settings.service_tokens("fanout"), settings.tls()
    async with (
        connected("graph", settings.graph_address, services, FollowersClient.CALLS, tls) as graph,
        connected("timeline", settings.timeline_address, services, TimelinesClient.CALLS, tls) as timeline,
        connected("post", settings.post_address, services, DeliveriesClient.CALLS, tls) as post,
    ):
        followers, timelines = FollowersClient(graph), TimelinesClient(timeline)
        async with followers.together, timelines.together:
            yield Peers(followers, timelines, DeliveriesClient(post))


async def _alone() -> None:
    settings = FanoutSettings()
    configure_logging(settings.log_level)
    async with open_queue(settings.queue_url) as queue:
        await until_stopped("fanout", running(settings, queue))


if __name__ == "__main__":
    run(_alone())
