"""A lease: of several processes that share a table, one at a time does something, and another goes on when it dies."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import msgspec
import structlog

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.table.port import AtVersion, ConditionFailedError, Existence, Item, Key, Put, Table

_TURNS = 2.5
_RELEASE_SECONDS = 1.0
_NOBODY = ""
_UNKNOWN = "?"
_log = structlog.get_logger(__name__)


class _Row(msgspec.Struct, array_like=True):
    holder: str
    note: bytes


class Lease:
    """A row that its holder writes again and again. One that stays unchanged for some `seconds` may be taken by whoever saw that.

    So nobody compares clocks with others. The holder leaves a note, which the others read. The row stays when it is released: its
    version only grows, so that one who held it long ago cannot take a later holder's row for its own.
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
        self._unanswered = False  # whether it may have the lease, and does not know
        self._unreadable = False

    @classmethod
    def every(cls, table: Table, key: Key, seconds: float, *, lasting: float = 0.0) -> Self:
        """Make a lease for what its holder does every so many seconds, and holds again within `lasting` seconds while it does it.

        A holder that died is followed after two and a half times that pause, and the time that its work may last.
        """
        return cls(table, key, seconds=_TURNS * seconds + lasting)

    async def hold(self, note: bytes) -> bool:
        """Take the lease or keep it, and tell whether it is held now. Until it is, `note` becomes what its holder wrote."""
        if self._held and await self._write(note, AtVersion(self._version)):
            return True
        found = await self._table.get(self._key)
        if found is None:
            return await self._write(note, Existence.ABSENT)
        row = self._row_in(found)
        self.note = row.note
        if row.holder in (self._me, _NOBODY) or self._is_left(row, found):
            return await self._write(note, AtVersion(found.version))
        return False

    async def pause(self, seconds: float) -> None:
        """Pause so long before the holder's next turn; those that wait for the lease look twice as often, to follow soon."""
        await asyncio.sleep(seconds if self._held else seconds / 2)

    async def release(self) -> None:
        """Let another have it at once."""
        if not self._held and not self._unanswered:
            return
        self._held = self._unanswered = False
        # Of a write that was cut short the first try finds out whether it was done.
        for _ in range(2):
            found = await self._table.get(self._key)
            if found is None or self._row_in(found).holder != self._me:
                break
            if await self._put(_Row(_NOBODY, self.note), AtVersion(found.version)):
                return
        _log.debug("lease was gone already")

    def _row_in(self, found: Item) -> _Row:
        """Read the row. Another release's, which cannot be read, belongs to a holder that nobody knows: it may be left, too."""
        try:
            row = msgspec.msgpack.decode(found.value, type=_Row)
        except ValueError:  # msgspec's own errors, and text that is not UTF-8
            if not self._unreadable:
                _log.warning("the lease's row cannot be read; it is taken when it stays unchanged", key=self._key)
            self._unreadable = True
            return _Row(_UNKNOWN, b"")
        self._unreadable = False
        return row

    def _is_left(self, row: _Row, found: Item) -> bool:
        now = asyncio.get_running_loop().time()
        if self._seen != (row.holder, found.version):
            self._seen, self._since = (row.holder, found.version), now
        return now - self._since >= self._seconds

    async def _write(self, note: bytes, condition: Existence | AtVersion) -> bool:
        self._held, self._unanswered = False, True  # until the answer comes
        done = await self._put(_Row(self._me, note), condition)
        self._unanswered = False
        if not done:
            return False
        self.note = note
        self._version = condition.version + 1 if isinstance(condition, AtVersion) else 1
        self._held = True
        return True

    async def _put(self, row: _Row, condition: Existence | AtVersion) -> bool:
        try:
            await self._table.write(Put(self._key, msgspec.msgpack.encode(row), condition))
        except ConditionFailedError:
            return False
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
