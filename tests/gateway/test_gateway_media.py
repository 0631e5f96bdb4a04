"""The route to the app beside the gateway: what it takes and gives is streamed, in any size, and nothing else gets there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from gateway.envoy import run_envoy
from gateway.settings import GatewaySettings, RateLimit
from meshkit.issuer import Issuer
from tests.gateway.rest import Rest

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = bytes(range(256)) * 256
CONTENT = PIECE * 80
SIGNED = "/media/uploads/7/1.png?expires=1&signature=a%2Fb%3D"
RECEIVE_TIMEOUT = 0.5


@dataclass(slots=True)
class App:
    """Keeps one file, and what it was asked."""

    file: Path
    address: str = ""
    asked: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def put(self, request: web.Request) -> web.Response:
        """Take the file, and tell when its first piece is there."""
        self._note(request)
        content = await request.content.readexactly(len(PIECE))
        self.began.set()
        await asyncio.to_thread(self.file.write_bytes, content + await request.read())
        return web.Response()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Give the file."""
        self._note(request)
        return web.FileResponse(self.file)

    def _note(self, request: web.Request) -> None:
        self.asked = f"{request.method} {request.raw_path}"
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.began.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(folder: Path) -> AsyncIterator[App]:
    """Run an app that keeps a file."""
    app = App(folder / "kept")
    application = web.Application(client_max_size=2 * len(CONTENT))
    application.router.add_put("/media/{path:.*}", app.put)
    application.router.add_get("/media/{path:.*}", app.get)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        app.address = f"127.0.0.1:{runner.addresses[0][1]}"
        yield app
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def beside(settings: GatewaySettings, app: App) -> GatewaySettings:
    """Give settings with the app, and little patience elsewhere."""
    changed = {"edge_upstream": app.address, "receive_timeout": RECEIVE_TIMEOUT, "upload_idle_timeout": 4 * RECEIVE_TIMEOUT}
    return settings.model_copy(update=changed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def media(beside: GatewaySettings, issuer: Issuer, folder: Path) -> AsyncIterator[Rest]:
    """Run the gateway with the app beside it."""
    async with run_envoy(beside, folder / "media") as gateway, aiohttp.ClientSession() as session:
        yield Rest(gateway.url, session, issuer.user_token(7))


async def test_an_upload_is_streamed(media: Rest, app: App) -> None:
    """The app has the first piece of 5 MiB before the rest is sent, and in the end all of it, URL and headers unchanged."""

    async def pieces() -> AsyncIterator[bytes]:
        yield PIECE
        await app.began.wait()
        yield CONTENT[len(PIECE) :]

    app.began.clear()
    sent = {"content-type": "image/png", "content-length": str(len(CONTENT))}
    async with media.session.put(URL(media.url + SIGNED, encoded=True), data=pieces(), headers=sent) as answer:
        assert answer.status == 200
    assert app.asked == f"PUT {SIGNED}"
    assert sent.items() <= app.headers.items()
    assert app.file.read_bytes() == CONTENT


async def test_an_upload_may_take_longer_than_other_requests(media: Rest, app: App) -> None:
    """A slow client's upload goes on after the time in which other requests must have arrived."""

    async def pieces() -> AsyncIterator[bytes]:
        yield PIECE
        await asyncio.sleep(2 * RECEIVE_TIMEOUT)  # it is the time itself that matters here
        yield PIECE

    async with media.session.put(media.url + SIGNED, data=pieces(), headers={"content-length": str(2 * len(PIECE))}) as answer:
        assert answer.status == 200
    assert app.file.read_bytes() == 2 * PIECE


async def test_an_upload_that_stands_still_is_ended(media: Rest) -> None:
    """A client that sends no more gets an answer, and does not hold the app for ever."""

    async def pieces() -> AsyncIterator[bytes]:
        yield PIECE
        await asyncio.Event().wait()

    sent = {"content-length": str(2 * len(PIECE))}
    async with asyncio.timeout(20), media.session.put(media.url + SIGNED, data=pieces(), headers=sent) as answer:
        assert answer.status in {408, 504}


async def test_a_call_that_does_not_arrive_is_ended_as_ever(media: Rest) -> None:
    """The patience is for media only: a POST whose body does not come is 408."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"content":'
        await asyncio.Event().wait()

    headers = {"authorization": f"Bearer {media.token}", "content-type": "application/json", "content-length": "100"}
    async with asyncio.timeout(20), media.session.post(f"{media.url}/v1/posts", data=pieces(), headers=headers) as answer:
        assert answer.status == 408
        assert (await answer.json())["code"] == 4


async def test_a_part_of_a_file_can_be_read(media: Rest, app: App) -> None:
    """A range is answered with just these bytes, and HEAD with the length; no token is needed."""
    app.file.write_bytes(CONTENT)
    async with media.session.get(f"{media.url}/media/7/1.png", headers={"range": "bytes=1000-1999"}) as answer:
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
        assert await answer.read() == CONTENT[1000:2000]
    async with media.session.head(f"{media.url}/media/7/1.png") as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(CONTENT)))
    async with media.session.get(f"{media.url}/media/7/1.png") as answer:
        assert await answer.read() == CONTENT


async def test_nothing_else_gets_to_the_app(media: Rest, rest: Rest, app: App) -> None:
    """Other methods are 405, paths that only look like media 404, and so is everything without the setting."""
    app.asked = ""
    for verb in ("POST", "DELETE", "PATCH"):
        answer = await media.call(verb, SIGNED)
        assert answer.refusal() == (405, 12)
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, PUT"
    for path in ("/media", "/mediax/1", "/x/media/1"):
        assert (await media.call("GET", path)).refusal() == (404, 5)
    assert (await rest.call("GET", "/media/7/1.png")).refusal() == (404, 5)
    assert app.asked == ""


async def test_browsers_may_upload(media: Rest, app: App) -> None:
    """A preflight for an upload is allowed to the listed origins, and answers of the app name the origin."""
    app.file.write_bytes(PIECE)
    ask = {"access_control_request_method": "PUT", "access_control_request_headers": "content-type"}
    allowed = await media.call("OPTIONS", SIGNED, token=None, origin="http://app.test", **ask)
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    async with media.session.get(f"{media.url}/media/7/1.png", headers={"origin": "http://app.test"}) as answer:
        assert answer.headers["access-control-allow-origin"] == "http://app.test"
        assert "content-range" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", ["/media/7/1.png", "/openapi.json"])
async def test_what_needs_no_token_counts_for_the_limit_of_an_address(
    beside: GatewaySettings, issuer: Issuer, app: App, tmp_path: Path, path: str
) -> None:
    """Who reads media too fast is 429, whatever token is sent, none, a wrong or a right one; other addresses are not touched."""
    app.file.write_bytes(PIECE)
    tight = beside.model_copy(update={"address_limit": RateLimit(per_second=1, burst=3)})
    sent: list[dict[str, str]] = [{}, {"authorization": "x"}, {"authorization": f"Bearer {issuer.user_token(7)}"}]
    async with run_envoy(tight, tmp_path) as gateway:
        for number, headers in enumerate(sent, start=2):
            connector = aiohttp.TCPConnector(local_addr=(f"127.0.0.{number}", 0))
            async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
                statuses = [await status_of(session, gateway.url + path) for _ in range(12)]
            assert statuses[0] == 200
            assert statuses[-1] == 429


async def status_of(session: aiohttp.ClientSession, url: str) -> int:
    """Read a URL."""
    async with session.get(url) as answer:
        return answer.status
