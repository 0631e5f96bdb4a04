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
from meshkit.media.port import PUBLISHED, Stored, Upload, check_upload, type_of
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

    async def publish(self, upload: str, key: str, expected: Stored) -> None:
        """Publish an upload once."""
        await self._do(partial(self._folder.publish, upload, key, expected))

    async def inspect(self, key: str) -> Stored | None:
        """Tell what is under a key. Its name tells the type: the edge app took no other."""
        size = await self._do(partial(self._folder.size, key))
        return None if size is None else Stored(type_of(key).content_type, size)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(work)
        except OSError as error:  # a time limit that is over is one too
            raise UnavailableError("the media folder cannot be used; try again", reason="MEDIA_FAILED") from error
