"""The engines of each port, and what opens them. An engine joins its port's contract suite in `tables.py` or `queues.py`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from meshkit.queue.port import Queue
from meshkit.table.port import Table
from tests.contract.queues import QUEUES
from tests.contract.tables import TABLES


@pytest.fixture(params=TABLES)
def open_table(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Table]]:
    """Give what opens the table, as often as the test likes."""
    return partial(TABLES[request.param], tmp_path)


@pytest.fixture
async def table(open_table: Callable[[], AbstractAsyncContextManager[Table]]) -> AsyncIterator[Table]:
    """Give an open, empty table."""
    async with open_table() as opened:
        yield opened


@pytest.fixture(params=QUEUES)
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    """Give an open broker without queues."""
    async with QUEUES[request.param](tmp_path) as opened:
        yield opened
