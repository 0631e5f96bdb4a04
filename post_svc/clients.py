"""The other services, as the post service calls them."""

from typing import ClassVar

from feed.graph.v1 import visibility_service_pb2, visibility_service_pb2_grpc

from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer

_VISIBILITY = visibility_service_pb2.DESCRIPTOR.services_by_name["VisibilityService"].methods_by_name


class VisibilityClient:
    """Who may see whose posts, over gRPC."""

    CALLS: ClassVar = (Call(_VISIBILITY["ListVisibleAuthors"], seconds=2),)

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._visibility: visibility_service_pb2_grpc.VisibilityServiceAsyncStub = (
            visibility_service_pb2_grpc.VisibilityServiceStub(peer.channel)
        )

    async def can_view(self, viewer_id: int, author_id: int) -> bool:
        """Tell whether a user may see another's posts now."""
        request = visibility_service_pb2.ListVisibleAuthorsRequest(viewer_id=viewer_id, author_ids=[author_id])
        return author_id in (await self._peer.call(self._visibility.ListVisibleAuthors, request)).author_ids
