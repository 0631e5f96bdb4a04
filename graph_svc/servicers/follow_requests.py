"""feed.graph.v1.FollowRequestService, translated."""

from feed.graph.v1 import follow_request_service_pb2, follow_request_service_pb2_grpc

from graph_svc.follow_requests import FollowRequestService
from graph_svc.servicers.messages import Context, follow_message, scope_of, user_message
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import request_id
from meshkit.rpc.edge import caller


class FollowRequestServicer(follow_request_service_pb2_grpc.FollowRequestServiceServicer):
    """feed.graph.v1.FollowRequestService."""

    def __init__(self, requests: FollowRequestService, tokens: PageTokens) -> None:
        self._requests = requests
        self._tokens = tokens

    async def ListFollowRequests(
        self, request: follow_request_service_pb2.ListFollowRequestsRequest, context: Context
    ) -> follow_request_service_pb2.ListFollowRequestsResponse:
        user_id = caller().acts_as(0)
        scope = scope_of("follow-requests", user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._requests.received_page(user_id, page_size(request.page_size), last)
        return follow_request_service_pb2.ListFollowRequestsResponse(
            users=map(user_message, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )

    async def ListSentFollowRequests(
        self, request: follow_request_service_pb2.ListSentFollowRequestsRequest, context: Context
    ) -> follow_request_service_pb2.ListSentFollowRequestsResponse:
        user_id = caller().acts_as(0)
        scope = scope_of("follow-requests:sent", user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._requests.sent_page(user_id, page_size(request.page_size), last)
        return follow_request_service_pb2.ListSentFollowRequestsResponse(
            users=map(user_message, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )

    async def ApproveFollowRequest(
        self, request: follow_request_service_pb2.ApproveFollowRequestRequest, context: Context
    ) -> follow_request_service_pb2.ApproveFollowRequestResponse:
        user_id = caller().acts_as(0)
        retry = request_id(str(user_id), request, request.request_id)
        follow = await self._requests.approve(user_id, request.follower_id, retry)
        return follow_request_service_pb2.ApproveFollowRequestResponse(follow=follow_message(follow))

    async def RejectFollowRequest(
        self, request: follow_request_service_pb2.RejectFollowRequestRequest, context: Context
    ) -> follow_request_service_pb2.RejectFollowRequestResponse:
        user_id = caller().acts_as(0)
        retry = request_id(str(user_id), request, request.request_id)
        await self._requests.reject(user_id, request.follower_id, retry)
        return follow_request_service_pb2.RejectFollowRequestResponse()
