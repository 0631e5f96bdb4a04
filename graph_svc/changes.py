"""How every change between users is made: rows, events and the answer to a request id in one atomic write."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from graph_svc.domain import FeedChanged
from graph_svc.revision import Revision
from meshkit.errors import OverloadedError
from meshkit.ids import IdGenerator
from meshkit.outbox import Event, Outbox
from meshkit.requests import RequestId, answer_record, first_answer, remember
from meshkit.table.port import ConditionFailedError, Operation, Table

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Change:
    """What shall become of what was seen: new ties, what else is written with them, and the answer."""

    revisions: Sequence[Revision] = ()
    operations: Sequence[Operation] = ()
    answer: bytes = b""

    @property
    def is_nothing(self) -> bool:
        """Whether all is already as it shall be."""
        return not self.operations and all(each.tie == each.seen.relation.tie for each in self.revisions)


class Changes:
    """Makes changes."""

    def __init__(self, table: Table, ids: IdGenerator, outbox: Outbox, encode: Callable[[int, FeedChanged], Event]) -> None:
        self._table = table
        self._ids = ids
        self._outbox = outbox
        self._encode = encode

    async def make(self, request: RequestId | None, plan: Callable[[int], Awaitable[Change]]) -> bytes:
        """Look, decide, and write; again, if what was seen no longer holds. A repeated request gives its first answer.

        The plan looks and decides; it is given a new id for what it makes.

        Raises:
            AlreadyExistsError: the request id was used for another request.
            OverloadedError: others changed the same each time.

        """
        for _ in range(_TRIES):
            if request and (answer := await first_answer(self._table, request)) is not None:
                return answer
            change = await plan(self._ids.next())
            if change.is_nothing:
                await remember(self._table, request, change.answer)
                return change.answer
            if await self._written(change, request):
                return change.answer
        raise too_many_changes()

    async def _written(self, change: Change, request: RequestId | None) -> bool:
        events = [self._event(revision) for revision in change.revisions if revision.feed_changes]
        operations = [
            *([answer_record(request, change.answer)] if request else []),
            *(operation for revision in change.revisions for operation in revision.operations),
            *change.operations,
            *map(self._outbox.record, events),
        ]
        try:
            await self._table.write(*operations)
        except ConditionFailedError:
            return False
        self._outbox.send(*events)
        return True

    def _event(self, revision: Revision) -> Event:
        relation, tie = revision.seen.relation, revision.tie
        changed = FeedChanged(relation.viewer_id, relation.author_id, tie.version, in_feed=tie.in_feed)
        return self._encode(self._ids.next(), changed)


def too_many_changes() -> OverloadedError:
    """Say that others changed the same thing again and again."""
    return OverloadedError("too many changes at once; try again", reason="CONTENTION")
