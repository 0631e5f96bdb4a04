"""The media engines, and uploads to them as any HTTP client makes them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from gateway.edge.app import running_edge
from gateway.edge.settings import EdgeSettings
from meshkit.aws import Access, BucketUrl
from meshkit.media.filesystem import open_files
from meshkit.media.folder import folder_of
from meshkit.media.port import MediaStore, Upload
from meshkit.media.s3 import open_s3
from meshkit.media.signing import UploadSigner
from meshkit.ministack import ACCESS_KEY, REGION, SECRET_KEY, private_ministack

OpenMedia = Callable[[Path], AbstractAsyncContextManager[MediaStore]]
"""Opens the store that belongs to a folder, with what takes its uploads and serves what is published."""


@asynccontextmanager
async def _file_store(folder: Path) -> AsyncIterator[MediaStore]:
    settings = EdgeSettings(data_dir=folder, edge_listen="127.0.0.1:0")
    async with running_edge(settings) as address:
        signer = UploadSigner(settings.media_secret())
        async with open_files(folder_of(settings.media_url), public_url=f"http://{address}", signer=signer) as store:
            yield store


@asynccontextmanager
async def _files(_folder: Path) -> AsyncIterator[OpenMedia]:
    yield _file_store


@asynccontextmanager
async def s3_server(folder: Path) -> AsyncIterator[Access]:
    """Run a server that speaks S3."""
    async with private_ministack(folder) as url:
        yield Access(REGION, url, ACCESS_KEY, SECRET_KEY)


def bucket(access: Access, folder: Path, prefix: str = "") -> BucketUrl:
    """Give the bucket that belongs to a folder."""
    name = "".join(letter if letter.isalnum() else "-" for letter in folder.name.lower()).strip("-")[-50:].strip("-")
    return BucketUrl(access, f"media-{name}", prefix)


@asynccontextmanager
async def _s3(folder: Path) -> AsyncIterator[OpenMedia]:
    async with s3_server(folder) as access:
        yield lambda own: open_s3(bucket(access, own), public_url="")


# Headers that are of one connection, or that the proxy's own server writes.
NOT_PASSED_ON = {"transfer-encoding", "connection", "date", "server"}
Fault = Callable[[web.Request], Awaitable[web.Response | None]]
"""Gives a call's answer, or None to have it forwarded untouched."""


async def nothing_wrong(_request: web.Request) -> None:
    """Have a call forwarded."""


def is_copy(request: web.Request) -> bool:
    """Tell whether a call copies a file."""
    return "x-amz-copy-source" in request.headers


def said(code: str, status: int, message: str = "arn:aws:secret detail") -> web.Response:
    """Refuse a call as S3 does."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@dataclass(slots=True)
class S3Proxy:
    """Stands before a server that speaks S3, counts copies, and does to calls what a test says."""

    access: Access
    fault: Fault = nothing_wrong
    copies: int = 0


@asynccontextmanager
async def proxy_to(target: Access) -> AsyncIterator[S3Proxy]:
    """Run a proxy for the length of a block."""
    proxy = S3Proxy(target)

    async def handle(request: web.Request) -> web.Response:
        proxy.copies += is_copy(request)
        if answer := await proxy.fault(request):
            return answer
        body = BytesIO(await request.read())
        url = URL(f"{target.endpoint_url}{request.raw_path}", encoded=True)
        # The host that was signed goes along.
        async with session.request(request.method, url, data=body, headers=request.headers) as passed:
            headers = {name: text for name, text in passed.headers.items() if name.lower() not in NOT_PASSED_ON}
            return web.Response(status=passed.status, headers=headers, body=await passed.read())

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.access = replace(target, endpoint_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
            yield proxy
        finally:
            await runner.cleanup()


# Changes to a signed URL that the server of these tests takes, and S3 does not; `test_media_s3.py` shows that it still does.
NOT_CHECKED_BY_MINISTACK = {
    *(f"X-Amz-Algorithm {change}" for change in ("left out", "changed", "longer", "shorter", "emptied")),
    "X-Amz-Signature left out",
    "X-Amz-Signature emptied",
}

# Each starts what its engine needs, once for all tests, in a folder of its own, and stops it in the end.
MEDIA: dict[str, Callable[[Path], AbstractAsyncContextManager[OpenMedia]]] = {"files": _files, "s3": _s3}


@dataclass(frozen=True, slots=True)
class Client:
    """A client that uploads and reads, without any credentials."""

    http: aiohttp.ClientSession

    async def put(self, upload: Upload, body: bytes, **changes: str) -> int:
        """Send a body as the upload says, but for changed headers (an empty one is left out); give the status."""
        headers = {"content-type": upload.headers["content-type"]} | {
            name.replace("_", "-"): text for name, text in changes.items()
        }
        return await self.send("PUT", upload.url, body, {name: text for name, text in headers.items() if text})

    async def send(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Send a body somewhere; give the status."""
        skipped = ("Content-Type",)
        async with self.http.request(
            method, URL(url, encoded=True), data=BytesIO(body), headers=headers, skip_auto_headers=skipped
        ) as answer:
            await answer.read()
            return answer.status

    async def read(self, url: str) -> tuple[int, str, bytes]:
        """Give status, type and body."""
        async with self.http.get(URL(url, encoded=True)) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), await answer.read()


def tampered(url: str) -> Iterator[tuple[str, str]]:
    """Give a signed URL with each of its parameters changed in each way, and what was done."""
    base, _, query = url.partition("?")
    pairs = [(name, text) for name, _, text in (pair.partition("=") for pair in query.split("&"))]
    assert len(pairs) >= 4
    yield "without parameters", base
    for name, text in pairs:
        others = [f"{key}={value}" for key, value in pairs if key != name]
        yield f"{name} left out", f"{base}?{'&'.join(others)}"
        last = text[:-1] + ("0" if text[-1] != "0" else "1")
        for how, changed in (("changed", last), ("longer", f"{text}0"), ("shorter", text[:-1]), ("emptied", "")):
            yield f"{name} {how}", f"{base}?{'&'.join([*others, f'{name}={changed}'])}"
