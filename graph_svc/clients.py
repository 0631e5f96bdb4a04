"""The timeline service, as the graph service calls it."""

from typing import ClassVar

from feed.timeline.v1 import timeline_service_pb2, timeline_service_pb2_grpc

from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer

_TIMELINES = timeline_service_pb2.DESCRIPTOR.services_by_name["TimelineService"].methods_by_name


class FeedsClient:
    """Home feeds, over gRPC. A user waits: two seconds are all that a change may take to show."""

    CALLS: ClassVar = (Call(_TIMELINES["HideAuthor"], seconds=2),)

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._timelines: timeline_service_pb2_grpc.TimelineServiceAsyncStub = timeline_service_pb2_grpc.TimelineServiceStub(
            peer.channel
        )

    async def hide(self, viewer_id: int, author_id: int, version: int) -> None:
        """Take an author's posts out of a viewer's feed, and keep them out."""
        request = timeline_service_pb2.HideAuthorRequest(viewer_id=viewer_id, author_id=author_id, edge_version=version)
        await self._peer.call(self._timelines.HideAuthor, request)
