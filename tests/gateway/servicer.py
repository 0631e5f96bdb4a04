"""The app-facing services written by hand: they echo what they are asked, and some post ids fail in a way of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import grpc
from feed.graph.v1 import block_service_pb2 as blocks
from feed.graph.v1 import block_service_pb2_grpc as blocks_grpc
from feed.graph.v1 import follow_request_service_pb2 as requests
from feed.graph.v1 import follow_request_service_pb2_grpc as requests_grpc
from feed.graph.v1 import follow_service_pb2 as follows
from feed.graph.v1 import follow_service_pb2_grpc as follows_grpc
from feed.graph.v1 import mute_service_pb2 as mutes
from feed.graph.v1 import mute_service_pb2_grpc as mutes_grpc
from feed.graph.v1 import user_service_pb2 as users
from feed.graph.v1 import user_service_pb2_grpc as users_grpc
from feed.post.v1 import media_service_pb2 as media
from feed.post.v1 import media_service_pb2_grpc as media_grpc
from feed.post.v1 import post_service_pb2 as posts
from feed.post.v1 import post_service_pb2_grpc as posts_grpc
from feed.timeline.v1 import timeline_service_pb2 as timelines
from feed.timeline.v1 import timeline_service_pb2_grpc as timelines_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from meshkit.errors import NotFoundError, invalid_field, to_status

LARGEST = 2**64 - 1
SERVICES = (
    "feed.graph.v1.BlockService",
    "feed.graph.v1.FollowRequestService",
    "feed.graph.v1.FollowService",
    "feed.graph.v1.MuteService",
    "feed.graph.v1.UserService",
    "feed.post.v1.MediaService",
    "feed.post.v1.PostService",
    "feed.timeline.v1.TimelineService",
)


class Odd(IntEnum):
    """Post ids that fail, and how: with a reason, with wrong fields, with a bare code, never; or wait until they are let go."""

    MISSING = 404
    INVALID = 400
    BARE = 412
    SLOW = 504
    HELD = 102


Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Upstream:
    """A running server, and the last call that reached it."""

    address: str = ""
    method: str = ""
    request: Any = None
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    seconds_left: float | None = None
    held: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, method: str, request: object, context: Context) -> None:
        """Keep a call."""
        self.method, self.request = method, request
        self.metadata = dict(context.invocation_metadata() or ())
        self.seconds_left = context.time_remaining()


class Posts(posts_grpc.PostServiceServicer):
    """Posts."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreatePost(self, request: posts.CreatePostRequest, context: Context) -> posts.CreatePostResponse:
        self._upstream.note("CreatePost", request, context)
        response = posts.CreatePostResponse()
        response.post.post_id = LARGEST
        response.post.content = request.content
        response.post.media_urls.extend(request.media_urls)
        return response

    async def GetPost(self, request: posts.GetPostRequest, context: Context) -> posts.GetPostResponse:
        self._upstream.note("GetPost", request, context)
        match request.post_id:
            case Odd.MISSING:
                await context.abort_with_status(to_status(NotFoundError('no "such" post', reason="POST_NOT_FOUND")))
            case Odd.INVALID:
                await context.abort_with_status(to_status(invalid_field("post_id", "is odd")))
            case Odd.BARE:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
            case Odd.SLOW:
                await asyncio.Event().wait()
            case Odd.HELD:
                self._upstream.held.set()
                await self._upstream.let_go.wait()
        response = posts.GetPostResponse()
        response.post.post_id = request.post_id
        response.post.content = "many words " * 100
        return response

    async def UpdatePost(self, request: posts.UpdatePostRequest, context: Context) -> posts.UpdatePostResponse:
        self._upstream.note("UpdatePost", request, context)
        return posts.UpdatePostResponse(post=request.post)

    async def DeletePost(self, request: posts.DeletePostRequest, context: Context) -> posts.DeletePostResponse:
        self._upstream.note("DeletePost", request, context)
        return posts.DeletePostResponse()

    async def ListUserPosts(self, request: posts.ListUserPostsRequest, context: Context) -> posts.ListUserPostsResponse:
        self._upstream.note("ListUserPosts", request, context)
        return posts.ListUserPostsResponse()

    async def LookupPosts(self, request: posts.LookupPostsRequest, context: Context) -> posts.LookupPostsResponse:
        self._upstream.note("LookupPosts", request, context)
        return posts.LookupPostsResponse()

    async def DescribePost(self, request: posts.DescribePostRequest, context: Context) -> posts.DescribePostResponse:
        self._upstream.note("DescribePost", request, context)
        return posts.DescribePostResponse()

    async def ListAuthorEntries(self, request: posts.ListAuthorEntriesRequest, context: Context) -> posts.ListAuthorEntriesResponse:
        self._upstream.note("ListAuthorEntries", request, context)
        return posts.ListAuthorEntriesResponse()


class Media(media_grpc.MediaServiceServicer):
    """Uploads."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreateMedia(self, request: media.CreateMediaRequest, context: Context) -> media.CreateMediaResponse:
        self._upstream.note("CreateMedia", request, context)
        return media.CreateMediaResponse()

    async def GetMedia(self, request: media.GetMediaRequest, context: Context) -> media.GetMediaResponse:
        self._upstream.note("GetMedia", request, context)
        response = media.GetMediaResponse()
        response.media.media_id = request.media_id
        return response

    async def CompleteMedia(self, request: media.CompleteMediaRequest, context: Context) -> media.CompleteMediaResponse:
        self._upstream.note("CompleteMedia", request, context)
        response = media.CompleteMediaResponse()
        response.media.media_id = request.media_id
        return response


class Users(users_grpc.UserServiceServicer):
    """Accounts."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreateUser(self, request: users.CreateUserRequest, context: Context) -> users.CreateUserResponse:
        self._upstream.note("CreateUser", request, context)
        response = users.CreateUserResponse()
        response.user.username = request.username
        return response

    async def GetUser(self, request: users.GetUserRequest, context: Context) -> users.GetUserResponse:
        self._upstream.note("GetUser", request, context)
        response = users.GetUserResponse()
        response.user.user_id = request.user_id
        return response

    async def LookupUser(self, request: users.LookupUserRequest, context: Context) -> users.LookupUserResponse:
        self._upstream.note("LookupUser", request, context)
        response = users.LookupUserResponse()
        response.user.username = request.username
        return response

    async def UpdateUser(self, request: users.UpdateUserRequest, context: Context) -> users.UpdateUserResponse:
        self._upstream.note("UpdateUser", request, context)
        return users.UpdateUserResponse(user=request.user)


class Follows(follows_grpc.FollowServiceServicer):
    """Edges."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreateFollow(self, request: follows.CreateFollowRequest, context: Context) -> follows.CreateFollowResponse:
        self._upstream.note("CreateFollow", request, context)
        response = follows.CreateFollowResponse()
        response.follow.followee_id = request.followee_id
        return response

    async def DeleteFollow(self, request: follows.DeleteFollowRequest, context: Context) -> follows.DeleteFollowResponse:
        self._upstream.note("DeleteFollow", request, context)
        return follows.DeleteFollowResponse()

    async def RemoveFollower(self, request: follows.RemoveFollowerRequest, context: Context) -> follows.RemoveFollowerResponse:
        self._upstream.note("RemoveFollower", request, context)
        return follows.RemoveFollowerResponse()

    async def IsFollowing(self, request: follows.IsFollowingRequest, context: Context) -> follows.IsFollowingResponse:
        self._upstream.note("IsFollowing", request, context)
        return follows.IsFollowingResponse()

    async def ListFollowers(self, request: follows.ListFollowersRequest, context: Context) -> follows.ListFollowersResponse:
        self._upstream.note("ListFollowers", request, context)
        return follows.ListFollowersResponse()

    async def ListFollowing(self, request: follows.ListFollowingRequest, context: Context) -> follows.ListFollowingResponse:
        self._upstream.note("ListFollowing", request, context)
        return follows.ListFollowingResponse()

    async def ListFollowerRange(
        self, request: follows.ListFollowerRangeRequest, context: Context
    ) -> follows.ListFollowerRangeResponse:
        self._upstream.note("ListFollowerRange", request, context)
        return follows.ListFollowerRangeResponse()

    async def ListFirstFollowers(
        self, request: follows.ListFirstFollowersRequest, context: Context
    ) -> follows.ListFirstFollowersResponse:
        self._upstream.note("ListFirstFollowers", request, context)
        return follows.ListFirstFollowersResponse()

    async def ListFolloweeIds(self, request: follows.ListFolloweeIdsRequest, context: Context) -> follows.ListFolloweeIdsResponse:
        self._upstream.note("ListFolloweeIds", request, context)
        return follows.ListFolloweeIdsResponse()

    async def ListLeftAuthors(self, request: follows.ListLeftAuthorsRequest, context: Context) -> follows.ListLeftAuthorsResponse:
        self._upstream.note("ListLeftAuthors", request, context)
        return follows.ListLeftAuthorsResponse()


class Requests(requests_grpc.FollowRequestServiceServicer):
    """Requests to follow."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def ListFollowRequests(
        self, request: requests.ListFollowRequestsRequest, context: Context
    ) -> requests.ListFollowRequestsResponse:
        self._upstream.note("ListFollowRequests", request, context)
        return requests.ListFollowRequestsResponse()

    async def ListSentFollowRequests(
        self, request: requests.ListSentFollowRequestsRequest, context: Context
    ) -> requests.ListSentFollowRequestsResponse:
        self._upstream.note("ListSentFollowRequests", request, context)
        return requests.ListSentFollowRequestsResponse()

    async def ApproveFollowRequest(
        self, request: requests.ApproveFollowRequestRequest, context: Context
    ) -> requests.ApproveFollowRequestResponse:
        self._upstream.note("ApproveFollowRequest", request, context)
        response = requests.ApproveFollowRequestResponse()
        response.follow.follower_id = request.follower_id
        return response

    async def RejectFollowRequest(
        self, request: requests.RejectFollowRequestRequest, context: Context
    ) -> requests.RejectFollowRequestResponse:
        self._upstream.note("RejectFollowRequest", request, context)
        return requests.RejectFollowRequestResponse()


class Blocks(blocks_grpc.BlockServiceServicer):
    """Blocks."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreateBlock(self, request: blocks.CreateBlockRequest, context: Context) -> blocks.CreateBlockResponse:
        self._upstream.note("CreateBlock", request, context)
        return blocks.CreateBlockResponse()

    async def DeleteBlock(self, request: blocks.DeleteBlockRequest, context: Context) -> blocks.DeleteBlockResponse:
        self._upstream.note("DeleteBlock", request, context)
        return blocks.DeleteBlockResponse()

    async def ListBlocks(self, request: blocks.ListBlocksRequest, context: Context) -> blocks.ListBlocksResponse:
        self._upstream.note("ListBlocks", request, context)
        return blocks.ListBlocksResponse()


class Mutes(mutes_grpc.MuteServiceServicer):
    """Mutes."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreateMute(self, request: mutes.CreateMuteRequest, context: Context) -> mutes.CreateMuteResponse:
        self._upstream.note("CreateMute", request, context)
        return mutes.CreateMuteResponse()

    async def DeleteMute(self, request: mutes.DeleteMuteRequest, context: Context) -> mutes.DeleteMuteResponse:
        self._upstream.note("DeleteMute", request, context)
        return mutes.DeleteMuteResponse()

    async def ListMutes(self, request: mutes.ListMutesRequest, context: Context) -> mutes.ListMutesResponse:
        self._upstream.note("ListMutes", request, context)
        return mutes.ListMutesResponse()


class Timelines(timelines_grpc.TimelineServiceServicer):
    """Feeds."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def GetHomeTimeline(
        self, request: timelines.GetHomeTimelineRequest, context: Context
    ) -> timelines.GetHomeTimelineResponse:
        self._upstream.note("GetHomeTimeline", request, context)
        return timelines.GetHomeTimelineResponse()

    async def PushEntries(self, request: timelines.PushEntriesRequest, context: Context) -> timelines.PushEntriesResponse:
        self._upstream.note("PushEntries", request, context)
        return timelines.PushEntriesResponse()

    async def PushAuthorEntries(
        self, request: timelines.PushAuthorEntriesRequest, context: Context
    ) -> timelines.PushAuthorEntriesResponse:
        self._upstream.note("PushAuthorEntries", request, context)
        return timelines.PushAuthorEntriesResponse()

    async def ExplainPost(self, request: timelines.ExplainPostRequest, context: Context) -> timelines.ExplainPostResponse:
        self._upstream.note("ExplainPost", request, context)
        return timelines.ExplainPostResponse()

    async def HideAuthor(self, request: timelines.HideAuthorRequest, context: Context) -> timelines.HideAuthorResponse:
        self._upstream.note("HideAuthor", request, context)
        return timelines.HideAuthorResponse()

    async def MarkPulledAuthor(
        self, request: timelines.MarkPulledAuthorRequest, context: Context
    ) -> timelines.MarkPulledAuthorResponse:
        self._upstream.note("MarkPulledAuthor", request, context)
        return timelines.MarkPulledAuthorResponse()


@asynccontextmanager
async def serve(port: int = 0) -> AsyncIterator[Upstream]:
    """Run all of them, with health and reflection, on a port, or a free one."""
    upstream = Upstream()
    server = grpc.aio.server()
    posts_grpc.add_PostServiceServicer_to_server(Posts(upstream), server)
    media_grpc.add_MediaServiceServicer_to_server(Media(upstream), server)
    users_grpc.add_UserServiceServicer_to_server(Users(upstream), server)
    follows_grpc.add_FollowServiceServicer_to_server(Follows(upstream), server)
    requests_grpc.add_FollowRequestServiceServicer_to_server(Requests(upstream), server)
    blocks_grpc.add_BlockServiceServicer_to_server(Blocks(upstream), server)
    mutes_grpc.add_MuteServiceServicer_to_server(Mutes(upstream), server)
    timelines_grpc.add_TimelineServiceServicer_to_server(Timelines(upstream), server)
    checker = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    await checker.set("", health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection([*SERVICES, reflection.SERVICE_NAME], server)
    upstream.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield upstream
    finally:
        await server.stop(0)
