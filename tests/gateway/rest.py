"""A REST client that keeps what the tests look at."""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is the JSON value, or None when there is none."""

    status: int
    headers: dict[str, str]
    body: Any

    def refusal(self) -> tuple[int, int]:
        """HTTP status and gRPC code, after a look at the form that every refusal must have."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.body) == {"code", "message", "details"}
        assert self.body["message"]
        assert isinstance(self.body["details"], list)
        return self.status, self.body["code"]


@dataclass(frozen=True, slots=True)
class Rest:
    """Calls a gateway as one user."""

    url: str
    session: aiohttp.ClientSession
    token: str

    async def call(self, verb: str, path: str, body: object = None, *, token: str | None = "", **headers: str) -> Answer:
        """Call with the user's token, another one, or (None) none. Text is sent as it is, other values as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent.setdefault("content-type", "application/json")
        if token is not None:
            sent.setdefault("authorization", f"Bearer {token or self.token}")
        data = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        async with self.session.request(verb, URL(self.url + path, encoded=True), data=data, headers=sent) as answer:
            text = await answer.text()
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(text) if text else None)
