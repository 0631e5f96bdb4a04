"""A stand-in for a mesh's gateway: the REST routes that the command line uses, over plain dicts, with faults to switch on."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiohttp import web

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(Enum):
    """What happens to a request instead of a proper answer."""

    RESET = auto()  # the connection breaks before anything is done
    LOST_ANSWER = auto()  # it is done, and then the connection breaks
    UNAVAILABLE = auto()  # 503, nothing done
    BUSY = auto()  # 429, nothing done


def mint(user_id: int) -> str:
    """Give the token of a user of the fake."""
    return f"token-{user_id}"


def _minted_for(token: str) -> int:
    return int(token.removeprefix("token-"))


def _no_fault(_: web.Request) -> Fault | None:
    return None


def _as_it_is(_: int, items: list[Json]) -> list[Json]:
    return items


def _pages_as_they_are(_: int, page: Json) -> Json:
    return page


@dataclass(slots=True)
class FakeMesh:
    """State and switches. `tamper` changes a user's feed, `tamper_page` a page, given its number.

    `caller` tells whose token it is.
    """

    users: dict[int, str] = field(default_factory=dict)
    follows: set[tuple[int, int]] = field(default_factory=set)
    posts: dict[int, Json] = field(default_factory=dict)
    answered: dict[tuple[int, str], tuple[Json, Json]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    fault: Callable[[web.Request], Fault | None] = _no_fault
    tamper: Callable[[int, list[Json]], list[Json]] = _as_it_is
    tamper_page: Callable[[int, Json], Json] = _pages_as_they_are
    caller: Callable[[str], int] = _minted_for
    next_id: int = 1 << 60

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen, on any free port unless one is given; gives the base URL."""
        app = web.Application(middlewares=[self._faulty])
        app.router.add_post("/v1/users", self._create_user)
        app.router.add_get("/v1/users:lookup", self._lookup_user)
        app.router.add_get("/v1/users/{user_id}", self._get_user)
        app.router.add_post("/v1/follows", self._create_follow)
        app.router.add_post("/v1/posts", self._create_post)
        app.router.add_get("/v1/feed", self._feed)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def feed_of(self, user_id: int) -> list[Json]:
        """Give all items of a feed, tampering included."""
        authors = {user_id} | {followee for follower, followee in self.follows if follower == user_id}
        ids = sorted((post_id for post_id, post in self.posts.items() if int(post["user_id"]) in authors), reverse=True)
        return self.tamper(user_id, [{"post": self.posts[post_id]} for post_id in ids])

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls[f"{request.method} {request.path}"] += 1
        fault = self.fault(request)
        if fault is Fault.UNAVAILABLE:
            return web.Response(status=503, text="no healthy upstream")
        if fault is Fault.BUSY:
            return web.json_response({"code": 8, "message": "slower", "details": []}, status=429, headers={"retry-after": "0"})
        answer: web.StreamResponse = web.Response()
        if fault is not Fault.RESET:
            answer = await handler(request)
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return answer

    def _caller(self, request: web.Request) -> int:
        return self.caller(request.headers["authorization"].removeprefix("Bearer "))

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id

    def _once(self, user_id: int, body: Json, make: Callable[[], Json]) -> web.Response:
        """Answer a repeated request id with the first answer."""
        key = (user_id, body["request_id"])
        if key not in self.answered:
            self.answered[key] = (body, make())
        first_body, answer = self.answered[key]
        return web.json_response(answer) if body == first_body else _error(409, 6, "request_id was used with another body")

    async def _create_user(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (0, body["request_id"]) not in self.answered and body["username"] in self.users.values():
            return _error(409, 6, "the username is taken")

        def make() -> Json:
            user_id = self._id()
            self.users[user_id] = body["username"]
            return {"user_id": str(user_id), "username": body["username"]}

        return self._once(0, body, make)

    async def _get_user(self, request: web.Request) -> web.Response:
        user_id = int(request.match_info["user_id"])
        if user_id not in self.users:
            return _error(404, 5, "there is no such user")
        return web.json_response({"user_id": str(user_id), "username": self.users[user_id]})

    async def _lookup_user(self, request: web.Request) -> web.Response:
        for user_id, username in self.users.items():
            if username == request.query["username"]:
                return web.json_response({"user_id": str(user_id), "username": username})
        return _error(404, 5, "there is no such user")

    async def _create_follow(self, request: web.Request) -> web.Response:
        follower_id, body = self._caller(request), await request.json()

        def make() -> Json:
            self.follows.add((follower_id, int(body["followee_id"])))
            return {"follower_id": str(follower_id), "followee_id": body["followee_id"]}

        return self._once(follower_id, body, make)

    async def _create_post(self, request: web.Request) -> web.Response:
        user_id, body = self._caller(request), await request.json()

        def make() -> Json:
            post_id = self._id()
            self.posts[post_id] = {"post_id": str(post_id), "user_id": str(user_id), "content": body["content"]}
            return self.posts[post_id]

        return self._once(user_id, body, make)

    async def _feed(self, request: web.Request) -> web.Response:
        items, size = self.feed_of(self._caller(request)), int(request.query["page_size"])
        start = int(request.query.get("page_token", "+/=0").removeprefix("+/="))
        end = start + size
        # A token with characters that only a careful client gets through.
        page = {"items": items[start:end], "next_page_token": f"+/={end}" if end < len(items) else ""}
        return web.json_response(self.tamper_page(start // size, page))


def every(number: int, *faults: Fault) -> Callable[[web.Request], Fault | None]:
    """Make each so-many-th request fail, with one fault after the other."""
    count = 0

    def choose(_: web.Request) -> Fault | None:
        nonlocal count
        count += 1
        return faults[count // number % len(faults)] if count % number == 0 else None

    return choose


def in_turn(*faults: Fault) -> Callable[[web.Request], Fault | None]:
    """Make the first requests fail, one with each fault."""
    left = iter(faults)
    return lambda _: next(left, None)


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message, "details": []}, status=status)
