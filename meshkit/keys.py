"""Secrets kept in files that only their owner may read, made on first use."""

import os
import secrets
from pathlib import Path


def load_or_create(path: Path, make: bytes | None = None) -> bytes:
    """Give the content of a secret file; where there is none, write one first (`make`, or 32 random bytes in hex).

    Safe when several processes start at once: the first one's secret wins.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_bytes(make if make is not None else secrets.token_hex(32).encode())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
