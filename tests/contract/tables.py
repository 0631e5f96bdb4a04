"""The table engines."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from meshkit.aws import Access, TableUrl
from meshkit.ministack import ACCESS_KEY, REGION, SECRET_KEY, private_ministack
from meshkit.process import child
from meshkit.sockets import free_port
from meshkit.table.dynamodb import open_dynamodb
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite

DYNAMODB_LOCAL = Path(__file__).parents[2] / "scripts" / "dynamodb-local"
OpenTable = Callable[[Path], AbstractAsyncContextManager[Table]]
"""Opens the table that belongs to a folder; a second time after the first was closed it finds the same things again."""


@asynccontextmanager
async def _ministack(folder: Path) -> AsyncIterator[Access]:
    async with private_ministack(folder) as url:
        yield Access(REGION, url, ACCESS_KEY, SECRET_KEY)


@asynccontextmanager
async def _dynamodb_local(folder: Path) -> AsyncIterator[Access]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def ready() -> bool:
        async with aiohttp.ClientSession() as session:
            try:
                # It answers everything unsigned with an error.
                async with session.get(url):
                    return True
            except aiohttp.ClientConnectionError:
                return False

    log = folder / "dynamodb-local.log"
    async with child([DYNAMODB_LOCAL, str(port)], name="DynamoDB Local", log=log, ready=ready, ready_timeout=120.0):
        yield Access(REGION, url, ACCESS_KEY, SECRET_KEY)


# Each runs a server that speaks DynamoDB for the length of a block. AWS's own needs Java: `make test-dynamodb-local`.
DYNAMODB_SERVERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Access]]] = {"dynamodb": _ministack}
if os.environ.get("FEEDMESH_TEST_DYNAMODB") == "local":
    DYNAMODB_SERVERS["dynamodb-local"] = _dynamodb_local


@asynccontextmanager
async def _sqlite(_folder: Path) -> AsyncIterator[OpenTable]:
    yield lambda folder: open_sqlite(folder / "table.db")


@asynccontextmanager
async def _dynamodb(server: str, folder: Path) -> AsyncIterator[OpenTable]:
    async with DYNAMODB_SERVERS[server](folder) as access:
        yield lambda folder: open_dynamodb(TableUrl(access, folder.name))


# Each starts what its engine needs, once for all tests, in a folder of its own, and stops it in the end.
TABLES: dict[str, Callable[[Path], AbstractAsyncContextManager[OpenTable]]] = {
    "sqlite": _sqlite,
    **{server: partial(_dynamodb, server) for server in DYNAMODB_SERVERS},
}
