"""Which engine is behind a URL. Only composition roots use this."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite

_log = structlog.get_logger(__name__)


def open_table(url: str) -> AbstractAsyncContextManager[Table]:
    """Open a table: `sqlite:///relative/path` or `sqlite:////absolute/path`. Raises ValueError for another URL."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or len(parts.path) <= 1:
        raise ValueError(f"{url}: a table is sqlite:///path, with # and ? in the path as %23 and %3F")
    return open_sqlite(Path(unquote(parts.path[1:])))


def open_queue(url: str) -> AbstractAsyncContextManager[Queue]:
    """Open a broker: `memory://`, which reaches only this process. Raises ValueError for another URL."""
    if url != "memory://":
        raise ValueError(f"{url}: a queue is memory://")
    _log.warning("memory:// reaches only this process: events for services elsewhere wait in the outbox")
    return MemoryQueue()
