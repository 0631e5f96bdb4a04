"""An edge app for each test, in this process, called over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest

from gateway.edge.app import running_edge
from gateway.edge.settings import EdgeSettings
from meshkit.media.filesystem import FileMedia, open_files
from meshkit.media.folder import folder_of
from meshkit.media.port import Stored, Upload
from meshkit.media.signing import UploadSigner

BODY = b"\x89PNG\r\n\x1a\n picture"
PNG = Stored("image/png", len(BODY))
UPLOAD, KEY = "uploads/7/12.png", "media/7/12-0a1b2c.png"


@dataclass(frozen=True, slots=True)
class Edge:
    """A running app, the store that signs for it and publishes, and their folder."""

    url: str
    address: str
    store: FileMedia
    folder: Path
    http: aiohttp.ClientSession

    async def upload(self, expected: Stored = PNG, key: str = UPLOAD) -> Upload:
        """Announce an upload."""
        return await self.store.presign_put(key, expected, 60)

    async def put(self, upload: Upload, body: object = BODY, **headers: str) -> "Answer":
        """Send it."""
        data = BytesIO(body) if isinstance(body, bytes) else body
        return await self.ask("PUT", upload.url, data, {"content-type": upload.headers["content-type"]} | headers)

    async def publish(self, expected: Stored = PNG) -> None:
        """Publish what has arrived."""
        await self.store.publish(await self.store.arrived(UPLOAD, expected), KEY)

    async def part_begun(self, parts: int = 1) -> None:
        """Wait until so many uploads are being written; every look is a request."""
        async with asyncio.timeout(10):
            while sum(name.startswith("parts/") for name in self.files()) < parts:
                await self.ask("GET", f"{self.url}/media/7/none.png")

    async def ask(self, method: str, url: str, body: object = None, headers: dict[str, str] | None = None) -> "Answer":
        """Send any request."""
        async with self.http.request(method, url, data=body, headers=headers) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    def files(self) -> list[str]:
        """Give all files in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes


class RunEdge(Protocol):
    """Runs an app with some settings."""

    def __call__(self, **more: object) -> AbstractAsyncContextManager[Edge]:
        """Run it."""


@pytest.fixture
def run_edge(tmp_path: Path) -> RunEdge:
    """Give what runs an app on the test's own folder, which may have any name."""

    @asynccontextmanager
    async def run(**more: object) -> AsyncIterator[Edge]:
        settings = EdgeSettings.model_validate({"data_dir": tmp_path / "a#b ?c=%25 d", "edge_listen": "127.0.0.1:0"} | more)
        folder, signer = folder_of(settings.media_url), UploadSigner(settings.media_secret())
        async with (
            running_edge(settings) as address,
            open_files(folder, public_url=f"http://{address}", signer=signer) as store,
            aiohttp.ClientSession() as http,
        ):
            yield Edge(f"http://{address}", address, store, folder, http)

    return run


@pytest.fixture
async def edge(run_edge: RunEdge) -> AsyncIterator[Edge]:
    """Run an app with the usual settings."""
    async with run_edge() as running:
        yield running
