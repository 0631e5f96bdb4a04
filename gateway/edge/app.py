"""The edge app: its routes, and its life."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from aiohttp import web

from gateway.edge.downloads import published
from gateway.edge.refusals import refusals
from gateway.edge.settings import EdgeSettings
from gateway.edge.uploads import Uploads
from meshkit.lifecycle import background
from meshkit.media.folder import MediaFolder, folder_of
from meshkit.media.signing import UploadSigner

# An upload is swept this long after its last byte. Its URL is refused by then.
UNPUBLISHED_LIFETIME_S = 3_600
_DRAIN_S = 10.0
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def running_edge(settings: EdgeSettings) -> AsyncIterator[str]:
    """Run the app for the length of a block, and give its address, `host:port`.

    At the end it takes no new connections, and leaves ten seconds for what is under way.

    Raises:
        ValueError: media is not in a folder, so there is nothing to take or serve.
        OSError: the address cannot be listened on, or the folder cannot be made.

    """
    folder = MediaFolder(folder_of(settings.media_url))
    await asyncio.to_thread(folder.make)
    uploads = Uploads(folder, UploadSigner(settings.media_secret()), settings)
    # Bodies are kept as they come: what says that it is compressed is not unpacked.
    runner = web.AppRunner(_app(uploads), access_log=None, auto_decompress=False, shutdown_timeout=_DRAIN_S)
    await runner.setup()
    try:
        host, listening = _listen(settings.edge_listen)
        site = web.SockSite(runner, listening)
        await site.start()
        async with background(_sweep(folder, settings.edge_sweep_interval)):
            yield f"{host}:{listening.getsockname()[1]}"
            await site.stop()
            # The runner lets answers be finished, but reads no more of any request.
            await uploads.drain(_DRAIN_S)
    finally:
        await runner.cleanup()


def _app(uploads: Uploads) -> web.Application:
    app = web.Application(middlewares=[refusals])
    app.router.add_put("/media/uploads/{user}/{name}", uploads.take)
    app.router.add_get("/media/{user}/{name}", partial(published, uploads.folder))
    return app


async def _sweep(folder: MediaFolder, interval: float) -> None:
    """Remove what was never published, again and again."""
    while True:
        try:
            removed = await asyncio.to_thread(folder.sweep, UNPUBLISHED_LIFETIME_S)
            _log.debug("swept uploads", removed=removed)
        except OSError as error:
            _log.warning("uploads cannot be swept", error=str(error))
        await asyncio.sleep(interval)


def _listen(address: str) -> tuple[str, socket.socket]:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return host, socket.create_server((host.strip("[]"), int(port)), family=family)
