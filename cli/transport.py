"""Calls a REST API that may be restarted at any moment: what may be repeated is asked again, until patience ends."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

_Answer = TypeVar("_Answer")

_ADDRESS = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_UNKNOWN = 2
_AGAIN = frozenset({408, 429, 502, 503, 504})
_TOO_MANY_REQUESTS = 429
_JSON = {"content-type": "application/json"}


class AddressError(Exception):
    """A base URL is not one."""


class ApiError(Exception):
    """The API said no, or said what its contract does not allow.

    `code` is the gRPC code as a number, `status` that of HTTP; `message` is for people.
    """

    def __init__(self, code: int, message: str, status: int) -> None:
        super().__init__(f"{message} (HTTP {status}, code {code})")
        self.code = code
        self.message = message
        self.status = status


class UnansweredError(Exception):
    """No answer came while patience lasted, or none to a call that must not be repeated: whether it took effect is unknown."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for one try, for all tries of a call together, and between tries (full jitter)."""

    try_s: float = 15.0
    call_s: float = 150.0
    first_pause_s: float = 0.05
    longest_pause_s: float = 2.0

    def pause_s(self, tries: int) -> float:
        """Draw the pause after so many failed tries."""
        longest_s = min(self.longest_pause_s, self.first_pause_s * 2 ** min(tries - 1, 16))
        return random.uniform(0, longest_s)  # noqa: S311  # jitter is no secret


@dataclass(frozen=True, slots=True)
class _Failure:
    """A try that may be followed by another. `refused`: it certainly had no effect."""

    problem: str
    refused: bool = False
    wait_s: float | None = None


class _ErrorBody(msgspec.Struct):
    code: int
    message: str


class Transport:
    """One REST API: base URL, pooled connections, JSON both ways."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, patience: Patience) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._patience = patience
        self._encode = msgspec.json.Encoder().encode

    @classmethod
    @asynccontextmanager
    async def connect(cls, base_url: str, *, connections: int, patience: Patience) -> AsyncIterator[Self]:
        """Open a pool of at most so many connections; nothing is sent yet.

        Raises:
            AddressError: the base URL is not an absolute http or https URL.

        """
        if not _ADDRESS.fullmatch(base_url):
            raise AddressError(f"{base_url!r} is not an address: it must be like http://127.0.0.1:8080")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=patience.try_s),
            # Compression would cost more CPU on this machine than it saves.
            skip_auto_headers=("Accept-Encoding",),
        ) as session:
            yield cls(session, base_url, patience)

    async def call(
        self, method: str, target: str, *, token: str = "", body: msgspec.Struct | None = None, repeatable: bool
    ) -> bytes:
        """Give the body of a successful answer.

        `target` is the path with its encoded query. A `repeatable` call is tried again after a failed connection, a try that took
        too long, or an answer of 408, 502, 503 or 504; any call is after a 429, which waits as long as its Retry-After says.

        Raises:
            ApiError: any other answer.
            UnansweredError: patience ended, or the call is not repeatable.

        """
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._patience.call_s
        tries = 0
        while True:
            outcome = await self._try(method, target, token, body)
            if isinstance(outcome, bytes):
                return outcome
            tries += 1
            pause_s = self._patience.pause_s(tries) if outcome.wait_s is None else outcome.wait_s
            if not (repeatable or outcome.refused) or clock() + pause_s > give_up_at:
                path = target.partition("?")[0]
                raise UnansweredError(f"{method} {self._base_url}{path}: {outcome.problem} (tries: {tries})")
            await asyncio.sleep(pause_s)

    async def _try(self, method: str, target: str, token: str, body: msgspec.Struct | None) -> bytes | _Failure:
        headers = dict(_JSON) if body is not None else {}
        if token:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else self._encode(body)
        url = URL(self._base_url + target, encoded=True)
        try:
            async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _Failure(str(error) or type(error).__name__)
        if response.ok and response.status < 300:  # noqa: PLR2004  # the border of HTTP's 2xx
            return content
        if response.status in _AGAIN:
            refused = response.status == _TOO_MANY_REQUESTS
            return _Failure(f"HTTP {response.status}", refused=refused, wait_s=_retry_after_s(response) if refused else None)
        raise _api_error(response.status, content)


def decode(decoder: msgspec.json.Decoder[_Answer], content: bytes) -> _Answer:
    """Read an answer.

    Raises:
        ApiError: it is not what the contract says.

    """
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(_UNKNOWN, f"the answer is not as the contract says: {error}", 200) from None


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None


def _api_error(status: int, content: bytes) -> ApiError:
    try:
        body = msgspec.json.decode(content, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ApiError(_UNKNOWN, content[:200].decode(errors="replace") or "an empty answer", status)
    return ApiError(body.code, body.message, status)
