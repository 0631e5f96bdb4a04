"""The embedded media store: a folder of this machine. The edge app (`gateway/edge`) takes and serves the files."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from meshkit.errors import UnavailableError
from meshkit.media.folder import MediaFolder
from meshkit.media.port import PUBLISHED, Arrived, Stored, Upload, check_arrival, check_publication, check_upload
from meshkit.media.signing import UploadSigner

DEFAULT_DEADLINE = 5.0

T = TypeVar("T")


@asynccontextmanager
async def open_files(
    root: Path, *, public_url: str, signer: UploadSigner, deadline: float = DEFAULT_DEADLINE
) -> AsyncIterator["FileMedia"]:
    """Open a store in a folder, which is made when it is missing. `public_url` is where the edge app is reached.

    `deadline` is for each call, in seconds.

    Raises:
        UnavailableError: the folder cannot be made.

    """
    media = FileMedia(MediaFolder(root), signer, public_url, deadline)
    await media.prepare()
    yield media


class FileMedia:
    """A `meshkit.media.port.MediaStore` in a folder. See `open_files`."""

    def __init__(self, folder: MediaFolder, signer: UploadSigner, public_url: str, deadline: float) -> None:
        self._folder = folder
        self._signer = signer
        self._public_url = public_url
        self._deadline = deadline

    @property
    def public_url(self) -> str:
        """Where published files are read."""
        return self._public_url

    async def prepare(self) -> None:
        """Make the folder."""
        await self._do(self._folder.make)

    async def presign_put(self, key: str, expected: Stored, seconds: int) -> Upload:
        """Let whoever has the URL upload such a file to the edge app."""
        check_upload(key, expected, seconds)
        query = urlencode(self._signer.sign(key, expected, seconds))
        headers = {"content-type": expected.content_type, "content-length": str(expected.size)}
        return Upload(f"{self._public_url}/{PUBLISHED}{key}?{query}", headers)

    async def arrived(self, upload: str, expected: Stored) -> Arrived:
        """Tell what has arrived. Its name tells the type: the edge app took no other."""
        check_arrival(upload, expected)
        return await self._do(partial(self._folder.arrived, upload, expected))

    async def publish(self, arrived: Arrived, key: str) -> None:
        """Publish what has arrived."""
        check_publication(arrived, key)
        await self._do(partial(self._folder.publish, arrived, key))

    async def discard(self, key: str) -> None:
        """Remove a file; an upload is closed."""
        await self._do(partial(self._folder.discard, key))

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(work)
        except OSError as error:  # a time limit that is over is one too
            raise UnavailableError("the media folder cannot be used; try again", reason="MEDIA_FAILED") from error
