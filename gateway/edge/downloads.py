"""Serving what is published."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from gateway.edge.refusals import Refusal
from meshkit.media.folder import MediaFolder
from meshkit.media.port import type_of

_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    # What users uploaded is shown as its announced type and nothing else, and no script in it ever runs, whatever its bytes are.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Pages of other origins may show it; that is what it is for.
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def published(folder: MediaFolder, request: web.Request) -> web.StreamResponse:
    """Answer a GET or HEAD, of the whole or of a range, with validators."""
    key = request.path.removeprefix("/")
    try:
        content_type = type_of(key).content_type
    except ValueError:
        raise _missing() from None
    if await asyncio.to_thread(folder.size, key) is None:
        raise _missing()
    return web.FileResponse(folder.path(key), headers={**_HEADERS, "Content-Type": content_type})


def _missing() -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "MEDIA_NOT_FOUND", "there is no such media")
