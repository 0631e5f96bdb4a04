"""Operations as clients do them: noted before they are sent, repeated until the answer is definite, noted again."""

import asyncio
import random
import re
from urllib.parse import quote

from tests.chaos.ledger import Answered, Asked, Ledger, Outcome, Shown, now
from tests.chaos.rest import Api, Body, Post, Reply

_TEXT = re.compile(r"op ([0-9]+)")
_LONGEST_PAUSE_S = 1.0
_INTERNAL = 500
_ALL = 1_000_000

# Method, target and what the body names `whom`; `{rid}` is the operation's request id.
_WRITES = {
    "user": ("POST", "/v1/users"),
    "post": ("POST", "/v1/posts"),
    "edit": ("PATCH", "/v1/posts/{post}?update_mask=content&request_id={rid}"),
    "delete": ("DELETE", "/v1/posts/{post}?request_id={rid}"),
    "follow": ("POST", "/v1/follows"),
    "unfollow": ("DELETE", "/v1/follows/{whom}?request_id={rid}"),
    "remove": ("DELETE", "/v1/followers/{whom}?request_id={rid}"),
    "approve": ("POST", "/v1/follow-requests/{whom}:approve"),
    "reject": ("POST", "/v1/follow-requests/{whom}:reject"),
    "block": ("POST", "/v1/blocks"),
    "unblock": ("DELETE", "/v1/blocks/{whom}?request_id={rid}"),
    "mute": ("POST", "/v1/mutes"),
    "unmute": ("DELETE", "/v1/mutes/{whom}?request_id={rid}"),
    "private": ("PATCH", "/v1/users/{who}?update_mask=private&request_id={rid}"),
    "public": ("PATCH", "/v1/users/{who}?update_mask=private&request_id={rid}"),
}
_PAGES = {
    "feed": "/v1/feed",
    "posts": "/v1/users/{whom}/posts",
    "followers": "/v1/users/{whom}/followers",
    "following": "/v1/users/{whom}/following",
    "blocks": "/v1/blocks",
    "mutes": "/v1/mutes",
    "requests": "/v1/follow-requests",
    "sent": "/v1/follow-requests:sent",
}


class Caller:
    """Does operations, and writes them to the ledger. `patience` is for how many seconds a write is repeated."""

    def __init__(self, api: Api, ledger: Ledger, rng: random.Random, *, patience: float) -> None:
        self._api = api
        self._ledger = ledger
        self._rng = rng
        self._patience = patience

    async def write(self, client: str, kind: str, who: int, *, whom: int = 0, post: int = 0) -> Answered:
        """Change something, exactly once however often it is tried."""
        asked = Asked(self._ledger.number(), now(), client, kind, who, whom, post)
        self._ledger.write(asked)
        answered = await self._repeated(asked, asked.op, kind)
        self._ledger.write(answered)
        return answered

    async def write_again(self, client: str, kind: str, who: int, first: Answered) -> None:
        """Repeat a `post` that was answered already, under its request id."""
        asked = Asked(self._ledger.number(), now(), client, "again", who, post=first.made)
        self._ledger.write(asked)
        self._ledger.write(await self._repeated(asked, first.op, kind))

    async def _repeated(self, asked: Asked, op: int, kind: str) -> Answered:
        method, target = _WRITES[kind]
        target = target.format(rid=_request_id(op), who=asked.who, whom=asked.whom, post=asked.post)
        tries, failures = 0, []
        while True:
            reply = await self._api.call(method, target, asked.who, _body(kind, op, asked.whom))
            tries += 1
            if reply.status == _INTERNAL:
                failures.append(reply.text)
            if reply.definite or now() > asked.at + self._patience:
                return _answered(asked.op, reply, tries, failures)
            await asyncio.sleep(self._rng.uniform(0.02, min(_LONGEST_PAUSE_S, 0.1 * 2**tries)))

    async def get_post(self, client: str, who: int, post: int, why: str = "") -> Answered:
        """Read one post; one try."""
        asked = Asked(self._ledger.number(), now(), client, "get", who, post=post, why=why)
        self._ledger.write(asked)
        reply = await self._api.call("GET", f"/v1/posts/{post}", who)
        pages = [[_shown(Post(reply.body.post_id, reply.body.user_id, reply.body.content, reply.body.version))]] if reply.ok else []
        answered = _read(asked.op, reply, pages, whole=reply.ok)
        self._ledger.write(answered)
        return answered

    async def read(
        self, client: str, kind: str, who: int, *, whom: int = 0, size: int = 20, pages: int = _ALL, tries: int = 1, why: str = ""
    ) -> Answered:
        """Read so many pages of a `feed`, or of an author's `posts`. Each page has a number of tries."""
        asked = Asked(self._ledger.number(), now(), client, kind, who, whom, size=size, why=why)
        self._ledger.write(asked)
        bodies, last = await self._bodies(_PAGES[kind].format(whom=whom), who, size, pages, tries)
        shown = [[_shown(post) for post in (body.posts or [item.post for item in body.items])] for body in bodies]
        answered = _read(asked.op, last, shown, whole=bool(bodies) and not bodies[-1].next_page_token)
        self._ledger.write(answered)
        return answered

    async def accounts(self, kind: str, who: int, *, tries: int) -> list[int] | None:
        """Read a list of accounts to its end; None when it was not answered. It is not noted."""
        bodies, last = await self._bodies(_PAGES[kind].format(whom=who), who, 100, _ALL, tries)
        return [int(user.user_id) for body in bodies for user in body.users] if last.ok else None

    async def account(self, who: int, *, tries: int) -> Body | None:
        """Read the own account; None when it was not answered. It is not noted."""
        reply = await self._tried(f"/v1/users/{who}", who, tries)
        return reply.body if reply.ok else None

    async def explain(self, who: int, post: int) -> str:
        """Ask why a post is in a feed, or is not; for people."""
        reply = await self._api.call("GET", f"/v1/feed:explain?post_id={post}", who)
        return f"{reply.body.reason}: {reply.body.description}" if reply.ok else f"HTTP {reply.status}"

    async def healthy(self) -> bool:
        """Whether the gateway says that all its services serve."""
        return (await self._api.call("GET", "/healthz", 1)).ok

    async def _bodies(self, path: str, who: int, size: int, pages: int, tries: int) -> tuple[list[Body], Reply]:
        bodies: list[Body] = []
        token = ""
        while True:
            reply = await self._tried(f"{path}?page_size={size}&page_token={quote(token, safe='')}", who, tries)
            if not reply.ok:
                return bodies, reply
            bodies.append(reply.body)
            token = reply.body.next_page_token
            if not token or len(bodies) == pages:
                return bodies, reply

    async def _tried(self, target: str, who: int, tries: int) -> Reply:
        for number in range(1, tries):
            reply = await self._api.call("GET", target, who)
            if reply.definite:
                return reply
            await asyncio.sleep(self._rng.uniform(0.02, min(_LONGEST_PAUSE_S, 0.1 * 2**number)))
        return await self._api.call("GET", target, who)


def _request_id(op: int) -> str:
    return f"op-{op}"


def _body(kind: str, op: int, whom: int) -> dict[str, object] | None:
    """Make what is sent; None where all stands in the target."""
    rid = _request_id(op)
    bodies: dict[str, dict[str, object]] = {
        "user": {"username": f"member_{whom}", "request_id": f"{rid}-of-the-ledger"},
        "post": {"content": f"op {op}", "request_id": rid},
        "edit": {"content": f"op {op}"},
        "follow": {"followee_id": str(whom), "request_id": rid},
        "block": {"blocked_id": str(whom), "request_id": rid},
        "mute": {"muted_id": str(whom), "request_id": rid},
        "approve": {"request_id": rid},
        "reject": {"request_id": rid},
        "private": {"private": True},
        "public": {"private": False},
    }
    return bodies.get(kind)


def _shown(post: Post) -> Shown:
    text = _TEXT.fullmatch(post.content)
    return Shown(int(post.post_id), int(post.user_id), post.version, int(text[1]) if text else -1)


def _answered(op: int, reply: Reply, tries: int, failures: list[str]) -> Answered:
    made = int(reply.body.post_id) or int(reply.body.user_id)
    return Answered(op, now(), _outcome(reply), reply.status, tries, made, reply.body.state, failures=failures)


def _read(op: int, last: Reply, pages: list[list[Shown]], *, whole: bool) -> Answered:
    failures = [last.text] if last.status == _INTERNAL else []
    return Answered(op, now(), _outcome(last), last.status, 1, pages=pages, whole=whole and last.ok, failures=failures)


def _outcome(reply: Reply) -> Outcome:
    if reply.ok:
        return "ok"
    return "refused" if reply.definite else "unknown"
