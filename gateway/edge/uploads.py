"""Taking an upload: checked before its first byte is read, written beside, and put in its place whole."""

import asyncio
import errno
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO

import structlog
from aiohttp import web

from gateway.edge.refusals import Refusal
from gateway.edge.settings import EdgeSettings
from meshkit.media.folder import MediaFolder, UploadClosedError
from meshkit.media.port import type_of
from meshkit.media.signing import Permit, SignatureError, UploadSigner

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Uploads:
    """Takes uploads into a folder, a bounded number at once, for each user too.

    Of two uploads under one key the later goes on: who lost a connection need not wait until the first one is given up.
    """

    folder: MediaFolder
    signer: UploadSigner
    settings: EdgeSettings
    under_way: Counter[str] = field(default_factory=Counter)
    receiving: dict[str, asyncio.Timeout] = field(default_factory=dict)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer a PUT: 200 when the whole file is on the disk."""
        permit = self._permit(request)
        with self._room(permit.key), _disk():
            await self._store(request, permit)
        return web.Response()

    async def drain(self, seconds: float) -> None:
        """Wait until no upload is under way, for so long at most."""
        if self.under_way.total():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), seconds)

    def _permit(self, request: web.Request) -> Permit:
        """Check everything that can be checked before the body: the signature, and that the headers are those that it signs."""
        key = request.path.removeprefix("/media/")
        try:
            type_of(key)
            permit = self.signer.verify(key, request.query)
        except (ValueError, SignatureError) as error:
            raise Refusal(HTTPStatus.FORBIDDEN, "UPLOAD_FORBIDDEN", str(error)) from None
        if request.content_length is None:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "LENGTH_REQUIRED", "send the header content-length")
        if request.headers.get("Content-Type") != permit.expected.content_type or request.content_length != permit.expected.size:
            wanted = f"content-type {permit.expected.content_type}, content-length {permit.expected.size}"
            raise Refusal(HTTPStatus.FORBIDDEN, "UPLOAD_FORBIDDEN", f"send what was announced: {wanted}")
        return permit

    @contextmanager
    def _room(self, key: str) -> Iterator[None]:
        user, most = key.split("/")[1], self.settings.edge_max_uploads
        is_full = self.under_way.total() >= most or self.under_way[user] >= self.settings.edge_max_uploads_per_user
        if is_full and key not in self.receiving:  # which makes room for its successor
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "TOO_MANY_UPLOADS", "too many uploads are under way; try again")
        self.under_way[user] += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.under_way[user] -= 1
            self.under_way += Counter()  # forgets who has none
            if not self.under_way:
                self.idle.set()

    async def _store(self, request: web.Request, permit: Permit) -> None:
        with self.folder.part() as part:
            try:
                async with asyncio.timeout(self.settings.edge_upload_timeout) as limit:
                    with self._only(permit.key, limit):
                        size = await self._receive(request, part)
            except TimeoutError:
                if permit.key in self.receiving:
                    raise Refusal(HTTPStatus.CONFLICT, "UPLOAD_REPLACED", "the file is being sent again; that one counts") from None
                raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "UPLOAD_TOO_SLOW", "the upload took too long; send it again") from None
            if size != permit.expected.size:
                raise Refusal(HTTPStatus.BAD_REQUEST, "UPLOAD_INCOMPLETE", "the upload ended early; send it again")
            try:
                await asyncio.to_thread(self.folder.accept, part, permit.key)
            except UploadClosedError:
                raise Refusal(HTTPStatus.CONFLICT, "UPLOAD_CLOSED", "this upload is completed; announce another") from None

    @contextmanager
    def _only(self, key: str, limit: asyncio.Timeout) -> Iterator[None]:
        """End the upload that is being received under the key, if there is one, by its time limit."""
        earlier = self.receiving.get(key)
        if earlier and not earlier.expired():
            earlier.reschedule(asyncio.get_running_loop().time())
        self.receiving[key] = limit
        try:
            yield
        finally:
            if self.receiving.get(key) is limit:
                del self.receiving[key]

    async def _receive(self, request: web.Request, part: BinaryIO) -> int:
        """Write the body as it comes, and tell its length. Raises TimeoutError when nothing comes for too long, or too little."""
        loop, idle = asyncio.get_running_loop(), self.settings.edge_idle_timeout
        begun, size = loop.time(), 0
        while True:
            slowest = begun + idle + size / self.settings.edge_min_rate
            async with asyncio.timeout_at(min(loop.time() + idle, slowest)):
                chunk = await request.content.readany()
            if not chunk:
                return size
            await asyncio.to_thread(part.write, chunk)
            size += len(chunk)


@contextmanager
def _disk() -> Iterator[None]:
    """Tell a full disk, and one that fails, from a caller who is gone."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        _log.error("an upload cannot be written", error=error.strerror)
        if error.errno in _FULL:
            raise Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "STORAGE_FULL", "there is no room for the file") from error
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "STORAGE_FAILED", "the file cannot be kept; try again") from error
