"""feed.graph.v1.BlockService, translated."""

from feed.graph.v1 import block_service_pb2, block_service_pb2_grpc

from graph_svc.blocks import BlockService
from graph_svc.servicers.messages import Context, scope_of, user_message
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import request_id
from meshkit.rpc.edge import caller


class BlockServicer(block_service_pb2_grpc.BlockServiceServicer):
    """feed.graph.v1.BlockService."""

    def __init__(self, blocks: BlockService, tokens: PageTokens) -> None:
        self._blocks = blocks
        self._tokens = tokens

    async def CreateBlock(
        self, request: block_service_pb2.CreateBlockRequest, context: Context
    ) -> block_service_pb2.CreateBlockResponse:
        user_id = caller().acts_as(0)
        await self._blocks.block(user_id, request.blocked_id, request_id(str(user_id), request, request.request_id))
        return block_service_pb2.CreateBlockResponse()

    async def DeleteBlock(
        self, request: block_service_pb2.DeleteBlockRequest, context: Context
    ) -> block_service_pb2.DeleteBlockResponse:
        user_id = caller().acts_as(0)
        await self._blocks.unblock(user_id, request.blocked_id, request_id(str(user_id), request, request.request_id))
        return block_service_pb2.DeleteBlockResponse()

    async def ListBlocks(
        self, request: block_service_pb2.ListBlocksRequest, context: Context
    ) -> block_service_pb2.ListBlocksResponse:
        user_id = caller().acts_as(0)
        scope = scope_of("blocks", user_id)
        last = self._tokens.open(scope, request.page_token)
        page = await self._blocks.page(user_id, page_size(request.page_size), last)
        return block_service_pb2.ListBlocksResponse(
            users=map(user_message, page.users), next_page_token=self._tokens.sign(scope, page.last)
        )
