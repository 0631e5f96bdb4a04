"""Media as files of one machine, shared by who takes the uploads and who publishes them. All of it blocks: call it in a thread.

A file is written whole under a name of its own before it appears under its key, and is never written again.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from meshkit.media.port import UPLOADS, Arrived, NotUploadedError, Stored, UploadChangedError, UploadDiffersError, type_of

_CLOSED = ".closed"


class UploadClosedError(Exception):
    """The upload is published: its URL takes nothing more."""


class MediaFolder:
    """Files under their keys. `parts` holds what is still being written."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parts = root / "parts"

    def make(self) -> None:
        """Make the folder, if need be. Raises OSError."""
        self._parts.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, key: str) -> Path:
        """Give where a key's file is or would be. Raises ValueError for what is not a key."""
        type_of(key)  # refuses whatever could lead out of the folder
        return self._root / key

    @contextmanager
    def part(self) -> Iterator[BinaryIO]:
        """Give a new file to write an upload to. It is gone after the block, unless `accept` made something of it."""
        path = self._parts / secrets.token_hex(16)
        try:
            with path.open("xb") as file:
                yield file
        finally:
            path.unlink(missing_ok=True)

    def accept(self, part: BinaryIO, upload: str) -> None:
        """Put a part in its upload's place, and onto the disk; it replaces an earlier one.

        Raises:
            UploadClosedError: the upload is published.

        """
        target = self.path(upload)
        part.flush()
        os.fsync(part.fileno())
        if _closed(target).exists():
            raise UploadClosedError
        _make_folder(target.parent)
        Path(part.name).replace(target)
        _sync_folder(target.parent)

    def size(self, key: str) -> int | None:
        """Tell how long a key's file is, or None."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def arrived(self, upload: str, expected: Stored) -> Arrived:
        """Tell what has arrived, as `MediaStore.arrived`."""
        try:
            found = self.path(upload).stat()
        except FileNotFoundError:
            raise NotUploadedError from None
        if found.st_size != expected.size:
            raise UploadDiffersError(Stored(expected.content_type, found.st_size))
        return Arrived(upload, expected, _version(found))

    def publish(self, arrived: Arrived, key: str) -> None:
        """Publish what has arrived, as `MediaStore.publish`."""
        source, target = self.path(arrived.upload), self.path(key)
        if not target.exists():
            self._link(source, target, arrived.version)
        _sync_folder(target.parent)

    def discard(self, key: str) -> None:
        """Remove a file, as `MediaStore.discard`."""
        path = self.path(key)
        with suppress(FileNotFoundError):
            if key.startswith(UPLOADS):
                path.replace(_closed(path))
            else:
                path.unlink()

    def _link(self, source: Path, target: Path, version: str) -> None:
        """Link the target to the source, if it is still this version: it may be replaced at any time."""
        seen = self._parts / secrets.token_hex(16)
        try:
            os.link(source, seen)
            if _version(seen.stat()) != version:
                raise UploadChangedError
            _make_folder(target.parent)
            with suppress(FileExistsError):
                os.link(seen, target)
        except FileNotFoundError:
            raise UploadChangedError from None
        finally:
            seen.unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        """Remove what was uploaded and never published, and what was never uploaded whole; tell how many files."""
        before = time.time() - older_than_s
        files = (*self._parts.iterdir(), *self._root.glob("uploads/*/*"))
        return sum(_removed(file, before) for file in files)


def folder_of(url: str) -> Path:
    """Read `file:///absolute/path`. Raises ValueError for another URL, without repeating it: it may hold a secret."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment or len(parts.path) <= 1:
        raise ValueError("a media folder is file:///absolute/path, with # and ? in the path as %23 and %3F")
    return Path(unquote(parts.path))


def _closed(upload: Path) -> Path:
    return upload.with_name(upload.name + _CLOSED)


def _version(found: os.stat_result) -> str:
    """Tell a file from any other that is or was in its place. Files are renamed and linked here, and never written again."""
    return f"{found.st_ino}-{found.st_mtime_ns}"


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync_folder(folder.parent)
        _sync_folder(folder.parent.parent)


def _sync_folder(folder: Path) -> None:
    """Have the folder's own entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _removed(file: Path, before: float) -> bool:
    with suppress(FileNotFoundError):
        if file.stat().st_mtime < before:
            file.unlink()
            return True
    return False
