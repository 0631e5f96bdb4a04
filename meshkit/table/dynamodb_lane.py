"""Lanes: calls of a kind share a wire with those of others, and never wait for them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from meshkit.errors import OverloadedError
from meshkit.table.dynamodb_wire import Wire


class Lane:
    """So many calls under way at once, and room for so much to be done by them; first come, first served."""

    def __init__(self, wire: Wire, width: int, backlog: int) -> None:
        self.wire = wire
        self.slots = asyncio.Semaphore(width)
        self.taken = 0
        self._backlog = backlog

    def check(self) -> None:
        """Raise `OverloadedError` when there is no room left."""
        if self.taken >= self._backlog:
            raise crowded()

    @contextmanager
    def room(self, cost: int) -> Iterator[None]:
        """Take room for the length of a block.

        Raises:
            OverloadedError: there is none left.

        """
        self.check()
        self.taken += cost
        try:
            yield
        finally:
            self.taken -= cost


def crowded() -> OverloadedError:
    """Say that it was not even tried."""
    return OverloadedError("too much waits for the table; try again later", reason="TABLE_BACKLOG_FULL")
