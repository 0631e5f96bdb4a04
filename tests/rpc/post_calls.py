"""The calls of the post service that several test modules make."""

from __future__ import annotations  # the asynchronous stubs have types of their own only for type checkers

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from feed.post.v1 import delivery_pb2, delivery_service_pb2_grpc, post_pb2
from feed.post.v1 import delivery_service_pb2 as delivery
from feed.post.v1 import post_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from tests.rpc.client import Stubs, Tokens, pages

Post = post_pb2.Post
Author = delivery_pb2.AuthorDelivery


class Posts:
    """The post service, called as any user."""

    def __init__(self, connected: Stubs, tokens: Tokens) -> None:
        self.stubs = connected
        self.tokens = tokens

    async def create(
        self, author: int, content: str = "text", media_urls: Sequence[str] = (), *, request_id: str = "", as_user: int = 0
    ) -> Post:
        """Publish a post."""
        request = pb.CreatePostRequest(content=content, media_urls=media_urls, request_id=request_id, user_id=as_user)
        return (await self.stubs.posts.CreatePost(request, metadata=self.tokens.user(author))).post

    async def get(self, post_id: int, viewer: int = 1) -> Post:
        """Give a post."""
        return (await self.stubs.posts.GetPost(pb.GetPostRequest(post_id=post_id), metadata=self.tokens.user(viewer))).post

    async def update(self, caller: int, post: Post, *paths: str, request_id: str = "") -> Post:
        """Edit a post."""
        mask = FieldMask(paths=paths) if paths else None
        request = pb.UpdatePostRequest(post=post, update_mask=mask, request_id=request_id)
        return (await self.stubs.posts.UpdatePost(request, metadata=self.tokens.user(caller))).post

    async def write(self, caller: int, post_id: int, content: str, *, request_id: str = "") -> Post:
        """Edit a post's content."""
        return await self.update(caller, Post(post_id=post_id, content=content), "content", request_id=request_id)

    async def delete(self, caller: int, post_id: int, *, request_id: str = "") -> None:
        """Delete a post."""
        request = pb.DeletePostRequest(post_id=post_id, request_id=request_id)
        await self.stubs.posts.DeletePost(request, metadata=self.tokens.user(caller))

    async def by_author(self, viewer: int, author: int, token: str = "", size: int = 0) -> pb.ListUserPostsResponse:
        """Give a page of an author's posts."""
        request = pb.ListUserPostsRequest(user_id=author, page_size=size, page_token=token)
        return await self.stubs.posts.ListUserPosts(request, metadata=self.tokens.user(viewer))

    async def all_by_author(self, author: int, size: int, between: Callable[[], Awaitable[object]] | None = None) -> list[Post]:
        """Page through an author's posts."""
        found = await pages(partial(self.by_author, 1, author, size=size), between=between)
        for page in found[:-1]:
            assert len(page.posts) == size, "only the last page may be short"
        return [post for page in found for post in page.posts]

    async def lookup(self, *post_ids: int) -> list[Post]:
        """Give many posts, as a service asks."""
        request = pb.LookupPostsRequest(post_ids=post_ids)
        return list((await self.stubs.posts.LookupPosts(request, metadata=self.tokens.service())).posts)

    async def entries(self, *authors: int, before: int = 0, limit: int = 0) -> list[tuple[int, list[int]]]:
        """Give authors' newest post ids, as a service asks."""
        request = pb.ListAuthorEntriesRequest(author_ids=authors, before_post_id=before, limit=limit)
        answer = await self.stubs.posts.ListAuthorEntries(request, metadata=self.tokens.service())
        return [(author.author_id, list(author.post_ids)) for author in answer.authors]

    async def describe(self, post_id: int) -> pb.DescribePostResponse:
        """Tell what a post is to feeds, as a service asks."""
        request = pb.DescribePostRequest(post_id=post_id)
        return await self.stubs.posts.DescribePost(request, metadata=self.tokens.service())


class Deliveries:
    """How authors' posts get into feeds, as services and operators ask and decide."""

    def __init__(self, connected: Stubs, tokens: Tokens) -> None:
        stub: delivery_service_pb2_grpc.DeliveryServiceAsyncStub = delivery_service_pb2_grpc.DeliveryServiceStub(connected.channel)
        self._stub = stub
        self._tokens = tokens

    async def get(self, author: int) -> Author:
        """Give an author's delivery."""
        request = delivery.GetAuthorDeliveryRequest(author_id=author)
        return (await self._stub.GetAuthorDelivery(request, metadata=self._tokens.service())).delivery

    async def set(self, author: int, wish: delivery_pb2.Delivery.ValueType, *, force: bool = False) -> Author:
        """Turn an author."""
        request = delivery.SetAuthorDeliveryRequest(author_id=author, delivery=wish, force=force)
        return (await self._stub.SetAuthorDelivery(request, metadata=self._tokens.service())).delivery

    async def finish(self, author: int, turn: int) -> None:
        """Tell that timelines are marked."""
        request = delivery.FinishTurnRequest(author_id=author, turn=turn)
        await self._stub.FinishTurn(request, metadata=self._tokens.service())

    async def turned(self, after: int = 0, limit: int = 0) -> list[Author]:
        """Give who turned after a turn."""
        request = delivery.ListAuthorDeliveriesRequest(after_turn=after, limit=limit)
        return list((await self._stub.ListAuthorDeliveries(request, metadata=self._tokens.service())).deliveries)
