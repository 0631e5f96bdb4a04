"""feed.graph.v1.VisibilityService, translated."""

from feed.graph.v1 import relation_pb2, visibility_service_pb2, visibility_service_pb2_grpc

from graph_svc.domain import Relation, can_view, in_feed
from graph_svc.servicers.messages import Context
from graph_svc.visibility import VisibilityService


class VisibilityServicer(visibility_service_pb2_grpc.VisibilityServiceServicer):
    """feed.graph.v1.VisibilityService."""

    def __init__(self, visibility: VisibilityService) -> None:
        self._visibility = visibility

    async def ListVisibleAuthors(
        self, request: visibility_service_pb2.ListVisibleAuthorsRequest, context: Context
    ) -> visibility_service_pb2.ListVisibleAuthorsResponse:
        visible = await self._visibility.visible(request.viewer_id, request.author_ids)
        return visibility_service_pb2.ListVisibleAuthorsResponse(author_ids=visible)

    async def GetRelation(
        self, request: visibility_service_pb2.GetRelationRequest, context: Context
    ) -> visibility_service_pb2.GetRelationResponse:
        relation = await self._visibility.relation(request.viewer_id, request.author_id)
        return visibility_service_pb2.GetRelationResponse(relation=_relation(relation))


def _relation(relation: Relation) -> relation_pb2.Relation:
    return relation_pb2.Relation(
        can_view=can_view(relation),
        in_feed=in_feed(relation),
        following=bool(relation.tie.follow_id),
        follow_id=relation.tie.follow_id,
        requested=bool(relation.tie.request_id),
        muted=relation.tie.muted,
        blocking=relation.blocking,
        blocked=relation.blocked,
        author_private=relation.author_private,
        edge_version=relation.tie.version,
    )
