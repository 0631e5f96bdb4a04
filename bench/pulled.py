"""Authors who are pulled, made so by the services themselves: turned, marked and finished."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
from collections.abc import Sequence

import grpc
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc

from bench.rig import Rig

_AT_ONCE = 16
_PAUSE_S = 0.05
_PATIENCE_S = 60.0


async def pull(rig: Rig, authors: Sequence[int]) -> None:
    """Turn authors to pull, and wait until every one is. Raises TimeoutError after a minute."""
    if not authors:
        return
    metadata, room = tuple(rig.as_service().items()), asyncio.Semaphore(_AT_ONCE)
    async with asyncio.timeout(_PATIENCE_S), grpc.aio.insecure_channel(rig.addresses["post"]) as channel:
        stub: delivery_service_pb2_grpc.DeliveryServiceAsyncStub = delivery_service_pb2_grpc.DeliveryServiceStub(channel)

        async def turn(author: int) -> None:
            request = delivery_service_pb2.SetAuthorDeliveryRequest(
                author_id=author, delivery=delivery_pb2.DELIVERY_PULL, force=True
            )
            async with room:
                await stub.SetAuthorDelivery(request, metadata=metadata)

        async def is_pulled(author: int) -> bool:
            request = delivery_service_pb2.GetAuthorDeliveryRequest(author_id=author)
            delivery = (await stub.GetAuthorDelivery(request, metadata=metadata)).delivery.delivery
            return delivery == delivery_pb2.DELIVERY_PULL

        async def pulled(author: int) -> None:
            async with room:
                while not await is_pulled(author):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(_PAUSE_S)

        await asyncio.gather(*map(turn, authors))
        await asyncio.gather(*map(pulled, authors))
