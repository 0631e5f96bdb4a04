"""Runs the fan-out service: `python -m fanout_svc`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc

from fanout_svc.clients import FollowersClient, TimelinesClient
from fanout_svc.consumer import ChunkQueue, consuming
from fanout_svc.jobs import SWEEPER_LEASE, JobRepository
from fanout_svc.service import Planner, Sweeper, Worker
from fanout_svc.servicer import FanoutServicer
from fanout_svc.settings import FanoutSettings
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
    async with (
        open_table(settings.table_url) as table,
        connected("graph", settings.graph_address, services, FollowersClient.CALLS, settings.tls()) as graph_peer,
        connected("timeline", settings.timeline_address, services, TimelinesClient.CALLS, settings.tls()) as timeline_peer,
    ):
        jobs, followers, timelines = JobRepository(table), FollowersClient(graph_peer), TimelinesClient(timeline_peer)
        planner = Planner(jobs, followers, timelines, ChunkQueue(queue), chunk_size=settings.chunk_size)
        worker = Worker(jobs, followers, timelines, batch_size=settings.batch_size)
        lease = Lease.every(table, SWEEPER_LEASE, settings.sweep_seconds, lasting=settings.late_seconds)
        sweeper = Sweeper(jobs, planner, lease, late_seconds=settings.late_seconds, every_seconds=settings.sweep_seconds)
        servicer = FanoutServicer(jobs, settings.page_tokens())

        def register(server: grpc.aio.Server) -> None:
            fanout_service_pb2_grpc.add_FanoutServiceServicer_to_server(servicer, server)

        async with (
            consuming(queue, planner, worker, planners=settings.planners, workers=settings.workers),
            background(sweeper.run()),
            serving(settings.listen(settings.fanout_listen), settings.user_tokens(), services, DESCRIPTORS, register) as address,
        ):
            yield address


async def _alone() -> None:
    settings = FanoutSettings()
    configure_logging(settings.log_level)
    async with open_queue(settings.queue_url) as queue:
        await until_stopped("fanout", running(settings, queue))


if __name__ == "__main__":
    run(_alone())
