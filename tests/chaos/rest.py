"""The REST API as an app sees it: one try each, with an answer that is definite, or is not."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import aiohttp
import msgspec
from yarl import URL

# Said by somebody who may not know what became of the call; 429 was refused before anything.
_INDEFINITE = frozenset({408, 429, 499, 502, 503, 504})
TRY_SECONDS = 6.0


class Post(msgspec.Struct, gc=False):
    """A post."""

    post_id: str
    user_id: str
    content: str
    version: int


class User(msgspec.Struct, gc=False):
    """An account."""

    user_id: str
    follower_count: int
    following_count: int
    private: bool = False


class _Item(msgspec.Struct, gc=False):
    post: Post


class Body(msgspec.Struct):
    """Any answer: each route sets the fields that it has."""

    items: list[_Item] = []
    posts: list[Post] = []
    users: list[User] = []
    next_page_token: str = ""
    post_id: str = "0"
    user_id: str = "0"
    content: str = ""
    version: int = 0
    follower_count: int = 0
    following_count: int = 0
    private: bool = False
    state: str = ""
    message: str = ""
    reason: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; status 0 is none."""

    status: int
    body: Body
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300

    @property
    def definite(self) -> bool:
        """Whether it was certainly done or certainly refused."""
        return self.ok or (400 <= self.status < 500 and self.status not in _INDEFINITE)


class Api:
    """Calls a gateway on behalf of users."""

    def __init__(self, session: aiohttp.ClientSession, url: str, mint: Callable[[int], str]) -> None:
        self._session = session
        self._url = url
        self._mint = mint
        self._tokens: dict[int, str] = {}
        self._decode = msgspec.json.Decoder(Body).decode

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, mint: Callable[[int], str], *, connections: int = 256) -> AsyncIterator[Self]:
        """Open a pool of connections."""
        limit = aiohttp.TCPConnector(limit=connections)
        timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
        async with aiohttp.ClientSession(connector=limit, timeout=timeout, skip_auto_headers=("Accept-Encoding",)) as session:
            yield cls(session, url, mint)

    async def call(self, method: str, target: str, user: int, body: dict[str, object] | None = None) -> Reply:
        """Try once."""
        headers = {"authorization": f"Bearer {self._token(user)}"}
        try:
            async with self._session.request(method, URL(self._url + target, encoded=True), json=body, headers=headers) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Reply(0, Body(), repr(error))
        return Reply(answer.status, self._body(content), content[:300].decode(errors="replace"))

    def _body(self, content: bytes) -> Body:
        try:
            return self._decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Body()

    def _token(self, user: int) -> str:
        if user not in self._tokens:
            self._tokens[user] = self._mint(user)
        return self._tokens[user]
