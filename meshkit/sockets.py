"""Places to listen at: free ports, and paths for Unix sockets, which may have only about a hundred characters."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_BYTES = 100


@contextmanager
def socket_path(folder: Path, name: str) -> Iterator[Path]:
    """Give a path for a socket: in the folder, which is made if need be, or in a temporary one where that would be too long."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder.absolute() / name
    if len(str(path).encode()) <= _MAX_BYTES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="feedmesh-", ignore_cleanup_errors=True) as short:
        yield Path(short) / name


def free_port() -> int:
    """Find a port on the loopback address that nobody listens on now; for programs that cannot tell which one they took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
