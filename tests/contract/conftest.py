"""The engines of each port, and what opens them. An engine joins its port's contract suite in `tables.py` or `queues.py`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from meshkit.aws import Access
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.queue.port import Queue
from meshkit.table.port import Table
from tests.contract.queues import QUEUES, OpenQueue, Server, unique_prefix
from tests.contract.rabbitmq import Proxy
from tests.contract.tables import DYNAMODB_SERVERS, TABLES, OpenTable


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=TABLES)
async def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenTable]:
    """Start a table engine, once for all tests."""
    async with TABLES[request.param](tmp_path_factory.mktemp(request.param)) as opener:
        yield opener


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=DYNAMODB_SERVERS)
async def dynamodb(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Access]:
    """Run a server that speaks DynamoDB, once for all tests of what is DynamoDB's own."""
    async with DYNAMODB_SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as access:
        yield access


@pytest.fixture
def open_table(tables: OpenTable, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Table]]:
    """Give what opens the test's own table, as often as the test likes."""
    return partial(tables, tmp_path)


@pytest.fixture
async def table(open_table: Callable[[], AbstractAsyncContextManager[Table]]) -> AsyncIterator[Table]:
    """Give an open, empty table."""
    async with open_table() as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Run a RabbitMQ server, once for all tests."""
    folder = tmp_path_factory.mktemp("rabbitmq")
    async with private_rabbitmq(folder) as url:
        yield Server(url, folder)


@pytest.fixture(params=QUEUES)
def open_queue(request: pytest.FixtureRequest) -> OpenQueue:
    """Give what opens a broker."""
    return QUEUES[request.param](request)


@pytest.fixture
async def queue(open_queue: OpenQueue) -> AsyncIterator[Queue]:
    """Give an open broker without queues."""
    async with open_queue() as opened:
        yield opened


@pytest.fixture
def prefix() -> str:
    """Give the test names of its own."""
    return unique_prefix()


@pytest.fixture
async def proxy(rabbitmq: Server) -> AsyncIterator[Proxy]:
    """Give a way to the server that is closed at first."""
    way = Proxy(rabbitmq)
    yield way
    await way.cut()
