"""A lease: of several processes that share a table, one at a time does something, and another goes on when it dies."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.table.port import AtVersion, ConditionFailedError, Delete, Existence, Item, Key, Put, Table

_RELEASE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class _Row(msgspec.Struct, array_like=True):
    holder: str
    note: bytes


class Lease:
    """A row that its holder writes again and again. One that stays unchanged for some `seconds` may be taken by whoever saw that.

    So nobody compares clocks with others. The holder leaves a note, which the others read.
    """

    def __init__(self, table: Table, key: Key, *, seconds: float) -> None:
        self.note = b""
        self._table = table
        self._key = key
        self._seconds = seconds
        self._me = secrets.token_hex(8)
        self._version = 0  # of the row that this process wrote last
        self._seen = ("", 0)  # holder and version of the row as last read
        self._since = 0.0  # when it was first seen like that
        self._held = False

    async def hold(self, note: bytes) -> bool:
        """Take the lease or keep it, and tell whether it is held now. Until it is, `note` becomes what its holder wrote."""
        if self._held and await self._write(note, AtVersion(self._version)):
            return True
        found = await self._table.get(self._key)
        if found is None:
            return await self._write(note, Existence.ABSENT)
        row = msgspec.msgpack.decode(found.value, type=_Row)
        self.note = row.note
        if row.holder == self._me or self._is_left(row, found):
            return await self._write(note, AtVersion(found.version))
        return False

    async def release(self) -> None:
        """Let another have it at once."""
        if self._held:
            self._held = False
            try:
                await self._table.write(Delete(self._key, AtVersion(self._version)))
            except ConditionFailedError:
                _log.debug("lease was gone already")

    def _is_left(self, row: _Row, found: Item) -> bool:
        now = asyncio.get_running_loop().time()
        if self._seen != (row.holder, found.version):
            self._seen, self._since = (row.holder, found.version), now
        return now - self._since >= self._seconds

    async def _write(self, note: bytes, condition: Existence | AtVersion) -> bool:
        self._held = False  # unless the answer comes
        row = msgspec.msgpack.encode(_Row(self._me, note))
        try:
            await self._table.write(Put(self._key, row, condition))
        except ConditionFailedError:
            return False
        self._version = condition.version + 1 if isinstance(condition, AtVersion) else 1
        self._held = True
        return True


@asynccontextmanager
async def released(lease: Lease) -> AsyncIterator[None]:
    """Release a lease at the end of a block, within a second; one that cannot be released ends by itself."""
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await lease.release()
        except (OverloadedError, UnavailableError, TimeoutError) as error:
            _log.warning("the lease ends by itself", error=str(error))
