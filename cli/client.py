"""The REST routes that seeding and verifying need, typed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Self
from urllib.parse import quote

import msgspec

from cli.transport import Patience, Transport, decode

NOT_FOUND = 5
ALREADY_EXISTS = 6

Id = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,19}$")]


class User(msgspec.Struct):
    """An account."""

    user_id: Id
    username: str


class Post(msgspec.Struct, gc=False):
    """A post."""

    post_id: Id
    user_id: Id
    content: str


class FeedItem(msgspec.Struct, gc=False):
    """One thing in a home feed."""

    post: Post


class FeedPage(msgspec.Struct):
    """A page of a home feed; an empty `next_page_token` is its end."""

    items: list[FeedItem]
    next_page_token: str


class _Follow(msgspec.Struct):
    followee_id: Id


class _NewUser(msgspec.Struct):
    username: str
    display_name: str
    request_id: str


class _NewFollow(msgspec.Struct):
    followee_id: str
    request_id: str


class _NewPost(msgspec.Struct):
    content: str
    request_id: str


class Client:
    """Calls the gateway. Every call waits and repeats as `Transport.call` says; every write carries a request id, so it may.

    Raises:
        ApiError: the gateway said no.
        UnansweredError: it did not answer while patience lasted.

    """

    def __init__(self, transport: Transport) -> None:
        self._call = transport.call
        self._user = msgspec.json.Decoder(User)
        self._post = msgspec.json.Decoder(Post)
        self._follow = msgspec.json.Decoder(_Follow)
        self._feed = msgspec.json.Decoder(FeedPage)

    @classmethod
    @asynccontextmanager
    async def connect(cls, base_url: str, *, connections: int, patience: Patience | None = None) -> AsyncIterator[Self]:
        """Open a client of the gateway at a base URL."""
        async with Transport.connect(base_url, connections=connections, patience=patience or Patience()) as transport:
            yield cls(transport)

    async def create_user(self, username: str, *, display_name: str, request_id: str) -> int:
        """Make an account and give its id."""
        body = _NewUser(username=username, display_name=display_name, request_id=request_id)
        answer = await self._call("POST", "/v1/users", body=body, repeatable=True)
        return int(decode(self._user, answer).user_id)

    async def get_user(self, user_id: int, *, token: str) -> User:
        """Give an account by its id."""
        return decode(self._user, await self._call("GET", f"/v1/users/{user_id}", token=token, repeatable=True))

    async def lookup_user(self, username: str, *, token: str) -> User:
        """Give an account by its name."""
        target = f"/v1/users:lookup?username={quote(username, safe='')}"
        return decode(self._user, await self._call("GET", target, token=token, repeatable=True))

    async def create_follow(self, followee_id: int, *, token: str, request_id: str) -> None:
        """Let the token's user follow another."""
        body = _NewFollow(followee_id=str(followee_id), request_id=request_id)
        decode(self._follow, await self._call("POST", "/v1/follows", token=token, body=body, repeatable=True))

    async def create_post(self, content: str, *, token: str, request_id: str) -> int:
        """Publish as the token's user and give the post's id."""
        body = _NewPost(content=content, request_id=request_id)
        answer = await self._call("POST", "/v1/posts", token=token, body=body, repeatable=True)
        return int(decode(self._post, answer).post_id)

    async def feed_page(self, *, token: str, page_size: int, page_token: str = "") -> FeedPage:
        """Give a page of the home feed of the token's user."""
        target = f"/v1/feed?page_size={page_size}"
        if page_token:
            target += f"&page_token={quote(page_token, safe='')}"
        return decode(self._feed, await self._call("GET", target, token=token, repeatable=True))
