"""Watches how the turners are delivered, so that a run can tell that they crossed the threshold. Nothing is judged by it."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress

import grpc
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc

from meshkit.auth import ServiceTokens
from tests.chaos.ledger import Ledger, Turned, now
from tests.chaos.mesh import Mesh

_EVERY_S = 0.5
_ADDRESS = re.compile(r"^gRPC.*\bpost ([0-9.:]+)", re.MULTILINE)


async def watch(mesh: Mesh, authors: Sequence[int], ledger: Ledger, until: float) -> None:
    """Note each turn that is seen; while nobody answers, nothing."""
    seen: dict[int, str] = {}
    while now() < until:
        with suppress(grpc.RpcError, IndexError):
            async with grpc.aio.insecure_channel(_ADDRESS.findall(mesh.log())[-1].split(",")[0]) as channel:
                for author in authors:
                    delivery = await _delivery(channel, mesh, author)
                    if seen.get(author, "PUSH") != delivery:
                        ledger.write(Turned(author, delivery, now()))
                    seen[author] = delivery
        await asyncio.sleep(_EVERY_S)


async def _delivery(channel: grpc.aio.Channel, mesh: Mesh, author: int) -> str:
    token = ServiceTokens((mesh.data / "keys" / "service.key").read_bytes(), "operator").mint()
    deliveries = delivery_service_pb2_grpc.DeliveryServiceStub(channel)
    request = delivery_service_pb2.GetAuthorDeliveryRequest(author_id=author)
    answer = await deliveries.GetAuthorDelivery(request, timeout=1, metadata=[("x-feedmesh-service", token)])
    return delivery_pb2.Delivery.Name(answer.delivery.delivery).removeprefix("DELIVERY_")
