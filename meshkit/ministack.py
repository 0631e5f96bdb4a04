"""A private server that speaks DynamoDB and S3, for a mesh on one machine: on the loopback address, with its data in a folder."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp

from meshkit.process import Child, alone, child
from meshkit.sockets import free_port
from meshkit.supervisor import supervised

# The server refuses every other key.
ACCESS_KEY = "feedmesh"
SECRET_KEY = "feedmesh-on-this-machine"  # noqa: S105
REGION = "us-east-1"
# It reads all its data when it starts, and writes all of it when it is asked to stop.
_READ_SECONDS = 300.0
_WRITE_SECONDS = 300.0


@asynccontextmanager
async def private_ministack(folder: Path) -> AsyncIterator[str]:
    """Keep a server running for the length of a block, and give its URL. Its log is `ministack.log` in the folder.

    It keeps its data when it is asked to stop, not when it is killed. Raises ChildError when it does not start.
    """
    port = free_port()
    async with supervised(lambda: _server(folder, port)):
        yield f"http://127.0.0.1:{port}"


def _server(folder: Path, port: int) -> AbstractAsyncContextManager[Child]:
    data = folder / "ministack"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "dynamodb,s3",
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(data / "state"),
        "S3_DATA_DIR": str(data / "s3"),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
    }

    async def ready() -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session,
                session.get(f"http://127.0.0.1:{port}/_ministack/health") as answer,
            ):
                return answer.ok
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    return child(
        # One that lost its parent may still be writing what this one is to read.
        alone(data / "lock", [sys.executable, "-m", "ministack"]),
        name="Ministack",
        log=folder / "ministack.log",
        ready=ready,
        ready_timeout=_READ_SECONDS,
        grace=_WRITE_SECONDS,
        env=os.environ | settings,
        orphan_signal=signal.SIGTERM,  # it writes its data when it is asked to stop
    )
