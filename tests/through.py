"""A table that passes everything on, for tables that do something else beside."""

from collections.abc import Sequence

from meshkit.table.port import Item, Key, Operation, Row, Table


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

    async def rows(self, partition: bytes, *, start: bytes = b"", end: bytes | None = None, limit: int) -> list[Row]:
        """Give a range without what else items have."""
        return await self._table.rows(partition, start=start, end=end, limit=limit)

    async def write(self, *operations: Operation) -> None:
        """Write."""
        await self._table.write(*operations)
