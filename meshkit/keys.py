"""Secrets kept in files that only their owner may read, made on first use."""

import os
import secrets
from pathlib import Path

MIN_BYTES = 32


def load_or_create(path: Path, make: bytes | None = None) -> bytes:
    """Give the content of a secret file; where there is none, write one first (`make`, or 32 random bytes in hex).

    Safe when several processes start at once: the first one's secret wins. Raises ValueError for a file with less than 32 bytes.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_first(path, make if make is not None else secrets.token_hex(32).encode())
    content = path.read_bytes()
    if len(content) < MIN_BYTES:
        raise ValueError(f"{path} holds fewer than {MIN_BYTES} bytes, so it is no secret: remove it to have one made")
    return content


def _write_first(path: Path, content: bytes) -> None:
    """Write a file whole, and onto the disk, unless another process was first."""
    draft = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
