"""Making the table: paid by request, encrypted, with expiry and point-in-time recovery.

Any number of processes may start at once.
"""

import asyncio
from typing import Any

import structlog

from meshkit.errors import FeedmeshError, UnavailableError
from meshkit.table.dynamodb_effort import effort, insist
from meshkit.table.dynamodb_items import EXPIRY, PARTITION, SORT
from meshkit.table.dynamodb_wire import RefusedError, Wire

READY_DEADLINE_S = 60.0
CALL_DEADLINE_S = 5.0
_LOOK_EVERY_S = 0.2
_KEYS = [{"AttributeName": PARTITION, "KeyType": "HASH"}, {"AttributeName": SORT, "KeyType": "RANGE"}]
_TYPES = [{"AttributeName": PARTITION, "AttributeType": "B"}, {"AttributeName": SORT, "AttributeType": "B"}]
_MISSING = "ResourceNotFoundException"
_THERE_ALREADY = "ResourceInUseException"
_log = structlog.get_logger(__name__)


async def prepare(wire: Wire, table: str) -> None:
    """Make the table if it is missing, and wait until it can be used, for at most a minute.

    Raises:
        UnavailableError: it cannot be used, with a text for operators.

    """
    try:
        async with effort(READY_DEADLINE_S):
            made = await _make(wire, table) if await _describe(wire, table) is None else False
            await _until_active(wire, table)
            await _expire(wire, table)
            if made:
                await _protect(wire, table)
    except (RefusedError, FeedmeshError) as error:
        raise UnavailableError(f"the table {table} cannot be used: {error}", reason="TABLE_UNUSABLE") from None


async def _call(wire: Wire, operation: str, **request: object) -> dict[str, Any]:
    async with effort(CALL_DEADLINE_S) as attempts:
        return await insist(wire, attempts, operation, request, dict[str, Any], repeatable=True)


async def _describe(wire: Wire, table: str) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = (await _call(wire, "DescribeTable", TableName=table))["Table"]
    except RefusedError as refusal:
        if refusal.code == _MISSING:
            return None
        raise
    return answer


async def _make(wire: Wire, table: str) -> bool:
    """Give whether it was us who made it: others may be at it too."""
    try:
        await _call(
            wire,
            "CreateTable",
            TableName=table,
            KeySchema=_KEYS,
            AttributeDefinitions=_TYPES,
            BillingMode="PAY_PER_REQUEST",
            SSESpecification={"Enabled": True},
        )
    except RefusedError as refusal:
        if refusal.code == _THERE_ALREADY:
            return False
        raise
    _log.info("table.made", table=table)
    return True


async def _until_active(wire: Wire, table: str) -> None:
    while True:
        found = await _describe(wire, table)
        if found and found["TableStatus"] in {"ACTIVE", "UPDATING"}:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    if found["KeySchema"] != _KEYS or sorted(found["AttributeDefinitions"], key=str) != sorted(_TYPES, key=str):
        raise UnavailableError("it was not made by this program: its keys have to be p and s, of bytes", reason="TABLE_UNUSABLE")


async def _expire(wire: Wire, table: str) -> None:
    """Have expired items removed. Done at each start, as whoever made the table may have died before it came to this."""
    answer = await _call(wire, "DescribeTimeToLive", TableName=table)
    if answer["TimeToLiveDescription"].get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        return
    try:
        wanted = {"Enabled": True, "AttributeName": EXPIRY}
        await _call(wire, "UpdateTimeToLive", TableName=table, TimeToLiveSpecification=wanted)
    except RefusedError as refusal:
        # Another process did it in between, or an operator has to.
        _log.warning("table.expiry_not_switched_on", table=table, problem=str(refusal))


async def _protect(wire: Wire, table: str) -> None:
    """Switch point-in-time recovery on for a table that we made. Where it cannot be, the table is usable all the same."""
    try:
        wanted = {"PointInTimeRecoveryEnabled": True}
        await _call(wire, "UpdateContinuousBackups", TableName=table, PointInTimeRecoverySpecification=wanted)
    except RefusedError as refusal:
        _log.warning("table.recovery_not_switched_on", table=table, problem=str(refusal))
