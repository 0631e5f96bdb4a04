"""Tables that fail, or change, at the worst moment."""

from collections.abc import Sequence

from fanout_svc.domain import Chunk
from meshkit.table.port import Item, Key, Operation
from tests.fanout.conftest import Fanout
from tests.fanout.ports import AWAY
from tests.through import Through


class Crashing(Through):
    """A table that is away for the write that ends a job."""

    async def write(self, *operations: Operation) -> None:
        """Write, unless it is the end."""
        if len(operations) > 1:
            raise AWAY
        await super().write(*operations)


class Unanswered(Through):
    """A table that does its first write, and does not say so."""

    answers = False

    async def write(self, *operations: Operation) -> None:
        """Write."""
        await super().write(*operations)
        if not self.answers:
            self.answers = True
            raise AWAY


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
