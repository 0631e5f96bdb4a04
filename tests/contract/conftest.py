"""The engines of each port. An engine joins its port's contract suite by a line in one of the tables here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite


def _sqlite(folder: Path) -> AbstractAsyncContextManager[Table]:
    return open_sqlite(folder / "table.db")


def _memory(_folder: Path) -> AbstractAsyncContextManager[Queue]:
    return MemoryQueue(pause=lambda _deliveries: 0.0)


# Each opens the engine on what it keeps in a folder; a second time after the first was closed it finds the same things again.
TABLES: dict[str, Callable[[Path], AbstractAsyncContextManager[Table]]] = {"sqlite": _sqlite}
# Each makes an engine whose pauses between deliveries are as short as it can.
QUEUES: dict[str, Callable[[Path], AbstractAsyncContextManager[Queue]]] = {"memory": _memory}


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
