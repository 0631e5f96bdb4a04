"""Stopping Envoy without cutting off who is being answered: by its own signal it ends at once."""

import asyncio
import time
from pathlib import Path

import aiohttp
import structlog

from meshkit.process import Child

DRAIN_SECONDS = 10.0
_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.05
_REQUESTS = "http.apps.downstream_rq_active"
_CONNECTIONS = "http.apps.downstream_cx_active"

_log = structlog.get_logger(__name__)


async def drain(envoy: Child, admin: Path | int, *, seconds: float = DRAIN_SECONDS) -> None:
    """Have Envoy take no new connections and end those it has with their next answer, and wait until no request is under way.

    After some seconds it is waited for no longer.
    """
    if envoy.process.returncode is not None:
        return
    try:
        async with asyncio.timeout(seconds), _connected(admin) as client:
            for command in ("/healthcheck/fail", "/drain_listeners"):
                async with client.post(command):
                    pass
            idle_until = time.monotonic() + _IDLE_SECONDS
            # A busy connection ends with its next answer; one that stays idle is not waited for.
            while await _count(client, _REQUESTS) or (  # noqa: ASYNC110 - it is Envoy that knows, and it has to be asked
                await _count(client, _CONNECTIONS) and time.monotonic() < idle_until
            ):
                await asyncio.sleep(_PAUSE_SECONDS)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        _log.warning("gateway not drained", error=repr(error))


def _connected(admin: Path | int) -> aiohttp.ClientSession:
    if isinstance(admin, int):
        return aiohttp.ClientSession(f"http://127.0.0.1:{admin}")
    return aiohttp.ClientSession("http://envoy", connector=aiohttp.UnixConnector(str(admin)))


async def _count(client: aiohttp.ClientSession, what: str) -> int:
    async with client.get("/stats", params={"filter": f"^{what}$"}) as answer:
        return int((await answer.text()).rpartition(":")[2] or 0)
