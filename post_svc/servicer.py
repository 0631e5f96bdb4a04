"""The posts' contract, translated to and from the service."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
from feed.post.v1 import post_pb2, post_service_pb2, post_service_pb2_grpc

from meshkit.errors import invalid_field
from meshkit.ids import id_bytes, id_from, time_ms_of
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import masked_fields, request_id, timestamp
from meshkit.rpc.edge import caller
from post_svc.domain import Draft, Post
from post_svc.service import PostService

_MAX_ENTRIES = 1_000
_DEFAULT_ENTRIES = 100
_EDITABLE = ("content", "media_urls")

Context = grpc.aio.ServicerContext[Any, Any]


class PostServicer(post_service_pb2_grpc.PostServiceServicer):
    """feed.post.v1.PostService."""

    def __init__(self, posts: PostService, tokens: PageTokens) -> None:
        self._posts = posts
        self._tokens = tokens

    async def CreatePost(
        self, request: post_service_pb2.CreatePostRequest, context: Context
    ) -> post_service_pb2.CreatePostResponse:
        author_id = caller().acts_as(request.user_id)
        draft = Draft(request.content, tuple(request.media_urls))
        post = await self._posts.create(author_id, draft, request_id(str(author_id), request, request.request_id))
        return post_service_pb2.CreatePostResponse(post=_post(post))

    async def GetPost(self, request: post_service_pb2.GetPostRequest, context: Context) -> post_service_pb2.GetPostResponse:
        return post_service_pb2.GetPostResponse(post=_post(await self._posts.get(request.post_id)))

    async def UpdatePost(
        self, request: post_service_pb2.UpdatePostRequest, context: Context
    ) -> post_service_pb2.UpdatePostResponse:
        user_id = caller().acts_as(request.post.user_id, "post.user_id")
        retry = request_id(str(user_id), request, request.request_id)
        post = await self._posts.update(user_id, request.post.post_id, _edit(request), retry)
        return post_service_pb2.UpdatePostResponse(post=_post(post))

    async def DeletePost(
        self, request: post_service_pb2.DeletePostRequest, context: Context
    ) -> post_service_pb2.DeletePostResponse:
        user_id = caller().acts_as(0)
        await self._posts.delete(user_id, request.post_id, request_id(str(user_id), request, request.request_id))
        return post_service_pb2.DeletePostResponse()

    async def ListUserPosts(
        self, request: post_service_pb2.ListUserPostsRequest, context: Context
    ) -> post_service_pb2.ListUserPostsResponse:
        scope = f"posts/{request.user_id}/by/{caller().user_id}"
        last = self._tokens.open(scope, request.page_token)
        page = await self._posts.page_by_author(request.user_id, page_size(request.page_size), id_from(last) if last else None)
        return post_service_pb2.ListUserPostsResponse(
            posts=map(_post, page.posts), next_page_token=self._tokens.sign(scope, id_bytes(page.last)) if page.last else ""
        )

    async def LookupPosts(
        self, request: post_service_pb2.LookupPostsRequest, context: Context
    ) -> post_service_pb2.LookupPostsResponse:
        return post_service_pb2.LookupPostsResponse(posts=map(_post, await self._posts.lookup(request.post_ids)))

    async def ListAuthorEntries(
        self, request: post_service_pb2.ListAuthorEntriesRequest, context: Context
    ) -> post_service_pb2.ListAuthorEntriesResponse:
        limit = min(request.limit or _DEFAULT_ENTRIES, _MAX_ENTRIES)
        entries = await self._posts.author_entries(request.author_ids, before=request.before_post_id or None, limit=limit)
        return post_service_pb2.ListAuthorEntriesResponse(
            authors=[
                post_service_pb2.AuthorEntries(author_id=author_id, post_ids=ids)
                for author_id, ids in zip(request.author_ids, entries, strict=True)
            ]
        )


def _edit(request: post_service_pb2.UpdatePostRequest) -> Callable[[Draft], Draft]:
    fields = masked_fields(request.update_mask, request.post, _EDITABLE)
    if "content" in fields and not request.post.content:
        raise invalid_field("post.content", "is required")
    changes: dict[str, Any] = {}
    if "content" in fields:
        changes["content"] = request.post.content
    if "media_urls" in fields:
        changes["media_urls"] = tuple(request.post.media_urls)
    return lambda draft: replace(draft, **changes)


def _post(post: Post) -> post_pb2.Post:
    return post_pb2.Post(
        post_id=post.post_id,
        user_id=post.author_id,
        content=post.draft.content,
        media_urls=post.draft.media_urls,
        create_time=timestamp(time_ms_of(post.post_id)),
        update_time=timestamp(post.updated_ms),
        version=post.version,
    )
