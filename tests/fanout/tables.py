"""Tables that fail, or change, at the worst moment."""

from collections.abc import Sequence

from fanout_svc.domain import Chunk
from meshkit.table.port import Item, Key, Operation, Table
from tests.fanout.conftest import Fanout
from tests.fanout.ports import AWAY


class Through:
    """A table that passes everything on. It implements the port Table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, key: Key) -> Item | None:
        """Give an item."""
        return await self._table.get(key)

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Give items."""
        return await self._table.get_many(keys)

    async def query(
        self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int, reverse: bool = False
    ) -> list[Item]:
        """Give a range."""
        return await self._table.query(partition, start=start, end=end, limit=limit, reverse=reverse)

    async def write(self, *operations: Operation) -> None:
        """Write."""
        await self._table.write(*operations)


class Crashing(Through):
    """A table that is away for the write that ends a job."""

    async def write(self, *operations: Operation) -> None:
        """Write, unless it is the end."""
        if len(operations) > 1:
            raise AWAY
        await super().write(*operations)


class Finishing(Through):
    """A table under whose reader a job is finished: after its key was listed, before the job is read."""

    def __init__(self, fanout: Fanout, chunks: Sequence[Chunk]) -> None:
        super().__init__(fanout.table)
        self._fanout = fanout
        self._chunks = chunks

    async def get(self, key: Key) -> Item | None:
        """Give an item, after the job was finished."""
        chunks, self._chunks = self._chunks, ()
        for chunk in chunks:
            await self._fanout.worker.deliver(chunk)
        return await super().get(key)
