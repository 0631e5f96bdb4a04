"""feed.graph.v1.MuteService, translated."""

from feed.graph.v1 import mute_service_pb2, mute_service_pb2_grpc

from graph_svc.mutes import MuteService
from graph_svc.servicers.messages import Context, scope_of, user_message
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import request_id
from meshkit.rpc.edge import caller


class MuteServicer(mute_service_pb2_grpc.MuteServiceServicer):
    """feed.graph.v1.MuteService."""

    def __init__(self, mutes: MuteService, tokens: PageTokens) -> None:
        self._mutes = mutes
        self._tokens = tokens

    async def CreateMute(
        self, request: mute_service_pb2.CreateMuteRequest, context: Context
    ) -> mute_service_pb2.CreateMuteResponse:
        user_id = caller().acts_as(0)
        await self._mutes.mute(user_id, request.muted_id, request_id(str(user_id), request, request.request_id))
        return mute_service_pb2.CreateMuteResponse()

    async def DeleteMute(
        self, request: mute_service_pb2.DeleteMuteRequest, context: Context
    ) -> mute_service_pb2.DeleteMuteResponse:
        user_id = caller().acts_as(0)
        await self._mutes.unmute(user_id, request.muted_id, request_id(str(user_id), request, request.request_id))
        return mute_service_pb2.DeleteMuteResponse()

    async def ListMutes(self, request: mute_service_pb2.ListMutesRequest, context: Context) -> mute_service_pb2.ListMutesResponse:
        user_id = caller().acts_as(0)
        scope = scope_of("mutes", user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._mutes.page(user_id, page_size(request.page_size), last)
        return mute_service_pb2.ListMutesResponse(
            users=map(user_message, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )
