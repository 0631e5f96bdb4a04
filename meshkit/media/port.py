"""What a media store can do, whatever engine keeps the files.

Clients send the bytes to the store itself, by a URL that is signed for one key, type, length and a few minutes. What arrived waits
below `uploads/`; publishing takes it to its place below `media/`, where it never changes, so that a URL which still works cannot
alter what people see. What is not published is removed: by the file engine within about an hour, on S3 within two days.

Who notes what is published does it after publishing: if it dies between the two and is not asked again, a file stays below `media/`
that nobody knows of. Nothing removes it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from meshkit.media.types import BY_EXTENSION, MediaType

UPLOADS = "uploads/"
PUBLISHED = "media/"
MAX_UPLOAD_SECONDS = 300
# Two plain words and an extension: nothing in a key can lead out of a folder, or means something in a URL.
_KEY = re.compile(r"(uploads|media)/[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,128}\.([a-z0-9]{2,4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Upload:
    """A request that a client may make: a PUT to this URL, with these headers."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file is."""

    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A whole upload. `version` tells it from anything else that was or will be uploaded under its key."""

    upload: str
    stored: Stored
    version: str


class NotUploadedError(Exception):
    """Nothing was uploaded under the key."""


class UploadChangedError(Exception):
    """What had arrived is gone or replaced."""


class UploadDiffersError(Exception):
    """What was uploaded is not what was expected. `found` is what it is."""

    def __init__(self, found: Stored) -> None:
        super().__init__(f"the upload is {found.size} bytes of {found.content_type}")
        self.found = found


class MediaStore(Protocol):
    """A store of files under keys such as `uploads/7/12.jpg` and `media/7/12-a1b2.jpg`, whose extension is that of their type.

    Every method raises `meshkit.errors.UnavailableError` when the engine does not answer in time, and `ValueError` for a key of
    another form, or one whose extension is not that of the type.
    """

    @property
    def public_url(self) -> str:
        """Where published files are read: `{public_url}/{key}`, without a slash at the end."""

    async def presign_put(self, key: str, expected: Stored, seconds: int) -> Upload:
        """Let whoever has the URL upload exactly such a file under a key below `uploads/`, for 1 to 300 seconds."""

    async def arrived(self, upload: str, expected: Stored) -> Arrived:
        """Tell what has arrived under a key below `uploads/`.

        Raises:
            NotUploadedError: nothing has.
            UploadDiffersError: it is not exactly what was expected; it stays, to be replaced.

        """

    async def publish(self, arrived: Arrived, key: str) -> None:
        """Publish exactly what has arrived under a key below `media/`. What is there already stays, and that is not an error.

        Durable when it returns; the upload stays. The key has to be of this version alone: some engines cannot tell whose file is
        there. If the call is cancelled the work may go on; a repeat joins it, or finds it done.

        Raises:
            UploadChangedError: nothing was published, as the upload is not there any more.
            OverloadedError: too much is being published at once.

        """

    async def discard(self, key: str) -> None:
        """Remove a file, if there is one: an upload that is noted as published, or a publication that never will be noted.

        On the file engine the URL of an upload that was there is refused from then on.
        """


def type_of(key: str) -> MediaType:
    """Tell the type of the file that a key stands for. Raises ValueError for what is not a key."""
    match = _KEY.fullmatch(key)
    if match and (found := BY_EXTENSION.get(match[2])):
        return found
    raise ValueError(f"{key!r} is not a media key")


def check_upload(key: str, expected: Stored, seconds: int) -> None:
    """Raise ValueError unless an upload may be signed."""
    check_arrival(key, expected)
    if not 1 <= expected.size <= type_of(key).max_bytes:
        raise ValueError(f"{expected.content_type} has 1 to {type_of(key).max_bytes} bytes, not {expected.size}")
    if not 1 <= seconds <= MAX_UPLOAD_SECONDS:
        raise ValueError(f"an upload is signed for 1 to {MAX_UPLOAD_SECONDS} seconds, not {seconds}")


def check_arrival(upload: str, expected: Stored) -> None:
    """Raise ValueError unless such a file may arrive under a key."""
    if not upload.startswith(UPLOADS) or type_of(upload).content_type != expected.content_type:
        raise ValueError(f"{upload!r} is not a key for an upload of {expected.content_type}")


def check_publication(arrived: Arrived, key: str) -> None:
    """Raise ValueError unless what has arrived may be published under a key."""
    if not key.startswith(PUBLISHED) or type_of(key).content_type != arrived.stored.content_type:
        raise ValueError(f"{arrived.upload!r} cannot be published as {key!r}")
