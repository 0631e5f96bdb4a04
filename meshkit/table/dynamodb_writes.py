"""Writing: one operation as itself, several as a transaction.

A transaction carries a token by which DynamoDB knows it again for ten minutes, so it may be sent until it is answered. A single
operation costs half as much and has no token: it is sent again only when it is certain that it was not carried out.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from meshkit.table.dynamodb_effort import Effort, effort, insist, unusable
from meshkit.table.dynamodb_items import is_live
from meshkit.table.dynamodb_lane import Lane
from meshkit.table.dynamodb_operations import CHECK, request
from meshkit.table.dynamodb_wire import CONTENDED, THROTTLED, Reason, RefusedError
from meshkit.table.port import Add, ConditionFailedError, Operation

_CONDITION_ERRORS = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
_CONDITION_FAILED = "ConditionalCheckFailed"
# A transaction's reasons have shorter names than the errors of single operations.
_PASSING: Mapping[str, str] = {
    "TransactionConflict": "TransactionConflictException",
    "ProvisionedThroughputExceeded": "ProvisionedThroughputExceededException",
    "ThrottlingError": "ThrottlingException",
} | {code: code for code in THROTTLED | CONTENDED}


@dataclass(frozen=True, slots=True)
class Writer:
    """Does writes. The deadline is in seconds for each, the clock gives Unix seconds."""

    lane: Lane
    table: str
    deadline: float
    clock: Callable[[], float]

    async def write(self, operations: Sequence[Operation]) -> None:
        """Do all or nothing.

        Raises:
            ConditionFailedError: a condition does not hold.
            ValueError: a counter would leave its range.
            OverloadedError: there was no room, or others always came first.
            UnavailableError: not done in time; if it was sent, it may still have been done.

        """
        expired: set[int] = set()
        async with effort(self.deadline) as attempts:
            while reasons := await self._attempt(operations, expired, now := self.clock(), attempts):
                await _judge(operations, reasons, now, expired, attempts)

    async def _attempt(
        self, operations: Sequence[Operation], expired: AbstractSet[int], now: float, attempts: Effort
    ) -> list[Reason]:
        """Write once, and give why not, if not. The additions in `expired` are to find an expired item, and to start it anew."""
        parts = [request(self.table, operation, now, anew=index in expired) for index, operation in enumerate(operations)]
        kind, only = parts[0]
        if len(parts) == 1 and kind != CHECK:
            return await self._send(f"{kind}Item", only, attempts, repeatable=False)
        items = [{kind: part} for kind, part in parts]
        whole = {"TransactItems": items, "ClientRequestToken": uuid4().hex}
        return await self._send("TransactWriteItems", whole, attempts, repeatable=True)

    async def _send(self, name: str, what: Mapping[str, object], attempts: Effort, *, repeatable: bool) -> list[Reason]:
        try:
            await insist(self.lane, attempts, name, what, dict[str, Any], repeatable=repeatable)
        except RefusedError as refusal:
            if refusal.code not in _CONDITION_ERRORS:
                raise unusable(refusal, name) from None
            return refusal.reasons
        return []


async def _judge(
    operations: Sequence[Operation], reasons: Sequence[Reason], now: float, expired: set[int], attempts: Effort
) -> None:
    """Return when the write may be tried again: after a pause, if it is for others that came first.

    `expired` are the additions that expected to find an expired item; it is brought up to date.
    """
    for index, (operation, reason) in enumerate(zip(operations, reasons, strict=True)):
        if reason.code == "None":
            continue
        if trouble := _PASSING.get(reason.code):
            await attempts.pause(trouble, reason.code)
            break
        if reason.code != _CONDITION_FAILED:
            raise unusable(RefusedError(reason.code, reason.text, []), "TransactWriteItems")
        if not isinstance(operation, Add):
            raise ConditionFailedError(index)
        if index in expired:
            expired.remove(index)  # others made it anew, or removed it
        elif reason.item is not None and not is_live(reason.item, now):
            expired.add(index)
        else:
            raise ValueError("a number has to fit in 64 bits with a sign")
