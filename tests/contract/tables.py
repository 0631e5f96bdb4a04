"""The table engines."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite


def _sqlite(folder: Path) -> AbstractAsyncContextManager[Table]:
    return open_sqlite(folder / "table.db")


# Each opens the engine on what it keeps in a folder; a second time after the first was closed it finds the same things again.
TABLES: dict[str, Callable[[Path], AbstractAsyncContextManager[Table]]] = {"sqlite": _sqlite}
