"""The contracts of posts and media, translated to and from the services."""

from typing import Any

import grpc
from feed.post.v1 import (
    delivery_pb2,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    media_pb2,
    media_service_pb2,
    media_service_pb2_grpc,
    post_pb2,
    post_service_pb2,
    post_service_pb2_grpc,
)

from meshkit.errors import invalid_field
from meshkit.ids import id_bytes, id_from, time_ms_of
from meshkit.media.port import Stored
from meshkit.paging import PageTokens, page_size
from meshkit.rpc.convert import masked_fields, request_id, timestamp
from meshkit.rpc.edge import caller
from post_svc.delivery_service import DeliveryService
from post_svc.domain import AuthorDelivery, Delivery, Edit, Post
from post_svc.media import Media
from post_svc.media_service import Announced, MediaService
from post_svc.reading import PostReader
from post_svc.service import PostService

_MAX_ENTRIES = 1_000
_DEFAULT_ENTRIES = 100
_MAX_AUTHORS = 1_000
_EDITABLE = ("content", "media_urls")

Context = grpc.aio.ServicerContext[Any, Any]


class PostServicer(post_service_pb2_grpc.PostServiceServicer):
    """feed.post.v1.PostService."""

    def __init__(self, posts: PostService, reader: PostReader, tokens: PageTokens) -> None:
        self._posts = posts
        self._reader = reader
        self._tokens = tokens

    async def CreatePost(
        self, request: post_service_pb2.CreatePostRequest, context: Context
    ) -> post_service_pb2.CreatePostResponse:
        author_id = caller().acts_as(request.user_id)
        retry = request_id(str(author_id), request, request.request_id)
        post = await self._posts.create(author_id, request.content, request.media_urls, retry)
        return post_service_pb2.CreatePostResponse(post=self._post(post))

    async def GetPost(self, request: post_service_pb2.GetPostRequest, context: Context) -> post_service_pb2.GetPostResponse:
        post = await self._reader.get(caller().user_id, request.post_id)
        return post_service_pb2.GetPostResponse(post=self._post(post))

    async def UpdatePost(
        self, request: post_service_pb2.UpdatePostRequest, context: Context
    ) -> post_service_pb2.UpdatePostResponse:
        user_id = caller().acts_as(request.post.user_id, "post.user_id")
        retry = request_id(str(user_id), request, request.request_id)
        post = await self._posts.update(user_id, request.post.post_id, _edit(request), retry)
        return post_service_pb2.UpdatePostResponse(post=self._post(post))

    async def DeletePost(
        self, request: post_service_pb2.DeletePostRequest, context: Context
    ) -> post_service_pb2.DeletePostResponse:
        user_id = caller().acts_as(0)
        await self._posts.delete(user_id, request.post_id, request_id(str(user_id), request, request.request_id))
        return post_service_pb2.DeletePostResponse()

    async def ListUserPosts(
        self, request: post_service_pb2.ListUserPostsRequest, context: Context
    ) -> post_service_pb2.ListUserPostsResponse:
        viewer_id, author_id, size = caller().user_id, request.user_id, page_size(request.page_size)
        scope = f"posts/{author_id}/by/{viewer_id}"
        last = self._tokens.open(scope, request.page_token)
        page = await self._reader.page_by_author(viewer_id, author_id, size, id_from(last) if last else None)
        return post_service_pb2.ListUserPostsResponse(
            posts=map(self._post, page.posts), next_page_token=self._tokens.sign(scope, id_bytes(page.last)) if page.last else ""
        )

    async def LookupPosts(
        self, request: post_service_pb2.LookupPostsRequest, context: Context
    ) -> post_service_pb2.LookupPostsResponse:
        return post_service_pb2.LookupPostsResponse(posts=map(self._post, await self._reader.lookup(request.post_ids)))

    async def DescribePost(
        self, request: post_service_pb2.DescribePostRequest, context: Context
    ) -> post_service_pb2.DescribePostResponse:
        post = await self._reader.describe(request.post_id)
        return post_service_pb2.DescribePostResponse(
            author_id=post.author_id, delivery=_delivery(post.delivery), deleted=post.deleted
        )

    async def ListAuthorEntries(
        self, request: post_service_pb2.ListAuthorEntriesRequest, context: Context
    ) -> post_service_pb2.ListAuthorEntriesResponse:
        limit = min(request.limit or _DEFAULT_ENTRIES, _MAX_ENTRIES)
        entries = await self._reader.author_entries(request.author_ids, before=request.before_post_id or None, limit=limit)
        return post_service_pb2.ListAuthorEntriesResponse(
            authors=[
                post_service_pb2.AuthorEntries(author_id=author_id, post_ids=ids)
                for author_id, ids in zip(request.author_ids, entries, strict=True)
            ]
        )

    def _post(self, post: Post) -> post_pb2.Post:
        return post_pb2.Post(
            post_id=post.post_id,
            user_id=post.author_id,
            content=post.draft.content,
            media_urls=map(self._posts.media_url, post.draft.media),
            create_time=timestamp(time_ms_of(post.post_id)),
            update_time=timestamp(post.updated_ms),
            version=post.version,
        )


class DeliveryServicer(delivery_service_pb2_grpc.DeliveryServiceServicer):
    """feed.post.v1.DeliveryService."""

    def __init__(self, deliveries: DeliveryService) -> None:
        self._deliveries = deliveries

    async def GetAuthorDelivery(
        self, request: delivery_service_pb2.GetAuthorDeliveryRequest, context: Context
    ) -> delivery_service_pb2.GetAuthorDeliveryResponse:
        author = await self._deliveries.get(request.author_id)
        return delivery_service_pb2.GetAuthorDeliveryResponse(delivery=_author(author))

    async def SetAuthorDelivery(
        self, request: delivery_service_pb2.SetAuthorDeliveryRequest, context: Context
    ) -> delivery_service_pb2.SetAuthorDeliveryResponse:
        author = await self._deliveries.set(request.author_id, _wish(request), force=request.force)
        return delivery_service_pb2.SetAuthorDeliveryResponse(delivery=_author(author))

    async def FinishTurn(
        self, request: delivery_service_pb2.FinishTurnRequest, context: Context
    ) -> delivery_service_pb2.FinishTurnResponse:
        await self._deliveries.finish(request.author_id, request.turn)
        return delivery_service_pb2.FinishTurnResponse()

    async def ListAuthorDeliveries(
        self, request: delivery_service_pb2.ListAuthorDeliveriesRequest, context: Context
    ) -> delivery_service_pb2.ListAuthorDeliveriesResponse:
        limit = min(request.limit or _MAX_AUTHORS, _MAX_AUTHORS)
        authors = await self._deliveries.turned_after(request.after_turn, limit)
        return delivery_service_pb2.ListAuthorDeliveriesResponse(deliveries=map(_author, authors))


class MediaServicer(media_service_pb2_grpc.MediaServiceServicer):
    """feed.post.v1.MediaService."""

    def __init__(self, media: MediaService) -> None:
        self._service = media

    async def CreateMedia(
        self, request: media_service_pb2.CreateMediaRequest, context: Context
    ) -> media_service_pb2.CreateMediaResponse:
        user_id = caller().acts_as(request.user_id)
        retry = request_id(str(user_id), request, request.request_id)
        announced = await self._service.create(user_id, Stored(request.content_type, request.size_bytes), retry)
        return media_service_pb2.CreateMediaResponse(media=self._media(announced.media), upload=_upload(announced))

    async def GetMedia(self, request: media_service_pb2.GetMediaRequest, context: Context) -> media_service_pb2.GetMediaResponse:
        media = await self._service.get(caller().acts_as(0), request.media_id)
        return media_service_pb2.GetMediaResponse(media=self._media(media))

    async def CompleteMedia(
        self, request: media_service_pb2.CompleteMediaRequest, context: Context
    ) -> media_service_pb2.CompleteMediaResponse:
        media = await self._service.complete(caller().acts_as(0), request.media_id)
        return media_service_pb2.CompleteMediaResponse(media=self._media(media))

    def _media(self, media: Media) -> media_pb2.Media:
        return media_pb2.Media(
            media_id=media.media_id,
            user_id=media.user_id,
            content_type=media.expected.content_type,
            size_bytes=media.expected.size,
            state=media_pb2.MEDIA_STATE_READY if media.ready else media_pb2.MEDIA_STATE_UPLOADING,
            media_url=self._service.url(media) if media.ready else "",
            create_time=timestamp(time_ms_of(media.media_id)),
        )


def _upload(announced: Announced) -> media_pb2.Upload | None:
    if not (upload := announced.upload):
        return None
    return media_pb2.Upload(method="PUT", url=upload.url, headers=upload.headers, expire_time=timestamp(announced.expires_ms))


def _wish(request: delivery_service_pb2.SetAuthorDeliveryRequest) -> Delivery | None:
    if request.delivery == delivery_pb2.DELIVERY_UNSPECIFIED and request.force:
        return None
    if request.delivery not in (delivery_pb2.DELIVERY_PUSH, delivery_pb2.DELIVERY_PULL):
        raise invalid_field("delivery", "must be PUSH or PULL, or unspecified to end a force")
    return Delivery(request.delivery)


def _author(author: AuthorDelivery) -> delivery_pb2.AuthorDelivery:
    return delivery_pb2.AuthorDelivery(
        author_id=author.author_id,
        delivery=_delivery(author.delivery),
        turn=author.turn,
        turn_time=timestamp(author.turn_ms) if author.turn else None,
        forced=author.forced,
    )


def _delivery(delivery: Delivery) -> delivery_pb2.Delivery.ValueType:
    return delivery_pb2.Delivery.ValueType(delivery)


def _edit(request: post_service_pb2.UpdatePostRequest) -> Edit:
    fields = masked_fields(request.update_mask, request.post, _EDITABLE)
    if "content" in fields and not request.post.content:
        raise invalid_field("post.content", "is required")
    return Edit(
        content=request.post.content if "content" in fields else None,
        media_urls=tuple(request.post.media_urls) if "media_urls" in fields else None,
    )
