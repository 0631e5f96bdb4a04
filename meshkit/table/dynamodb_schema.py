"""Making the table: paid by request, encrypted, with expiry and point-in-time recovery.

Any number of processes may start at once.
"""

import asyncio
from typing import Any

import structlog

from meshkit.errors import FeedmeshError, UnavailableError
from meshkit.table.dynamodb_effort import effort, insist
from meshkit.table.dynamodb_items import EXPIRY, PARTITION, SORT
from meshkit.table.dynamodb_lane import Lane
from meshkit.table.dynamodb_wire import RefusedError

READY_DEADLINE_S = 60.0
PROTECTED_DEADLINE_S = 30.0
CALL_DEADLINE_S = 5.0
_LOOK_EVERY_S = 0.2
_KEYS = [{"AttributeName": PARTITION, "KeyType": "HASH"}, {"AttributeName": SORT, "KeyType": "RANGE"}]
_TYPES = [{"AttributeName": PARTITION, "AttributeType": "B"}, {"AttributeName": SORT, "AttributeType": "B"}]
_MISSING = "ResourceNotFoundException"
_NOT_YET = "ContinuousBackupsUnavailableException"
_THERE_ALREADY = "ResourceInUseException"
_log = structlog.get_logger(__name__)


async def prepare(lane: Lane, table: str) -> None:
    """Make the table if it is missing, and wait for at most a minute until it can be used, and half a minute until it is protected.

    Raises:
        UnavailableError: it cannot be used, with a text for operators.

    """
    try:
        async with effort(READY_DEADLINE_S):
            if await _describe(lane, table) is None:
                await _make(lane, table)
            await _until_active(lane, table)
            await _expire(lane, table)
    except (RefusedError, FeedmeshError) as error:
        raise UnavailableError(f"the table {table} cannot be used: {error}", reason="TABLE_UNUSABLE") from None
    await _protect(lane, table)


async def _call(lane: Lane, operation: str, **request: object) -> dict[str, Any]:
    async with effort(CALL_DEADLINE_S) as attempts:
        return await insist(lane, attempts, operation, request, dict[str, Any], repeatable=True)


async def _describe(lane: Lane, table: str) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = (await _call(lane, "DescribeTable", TableName=table))["Table"]
    except RefusedError as refusal:
        if refusal.code == _MISSING:
            return None
        raise
    return answer


async def _make(lane: Lane, table: str) -> None:
    """Make the table; others may be at it too."""
    try:
        await _call(
            lane,
            "CreateTable",
            TableName=table,
            KeySchema=_KEYS,
            AttributeDefinitions=_TYPES,
            BillingMode="PAY_PER_REQUEST",
            SSESpecification={"Enabled": True},
        )
    except RefusedError as refusal:
        if refusal.code != _THERE_ALREADY:
            raise
    else:
        _log.info("table.made", table=table)


async def _until_active(lane: Lane, table: str) -> None:
    while True:
        found = await _describe(lane, table)
        if found and found["TableStatus"] in {"ACTIVE", "UPDATING"}:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    if found["KeySchema"] != _KEYS or sorted(found["AttributeDefinitions"], key=str) != sorted(_TYPES, key=str):
        raise UnavailableError("it was not made by this program: its keys have to be p and s, of bytes", reason="TABLE_UNUSABLE")


async def _expire(lane: Lane, table: str) -> None:
    """Have expired items removed. Done at each start, as whoever made the table may have died before it came to this."""
    try:
        answer = await _call(lane, "DescribeTimeToLive", TableName=table)
        if answer["TimeToLiveDescription"].get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
            return
        wanted = {"Enabled": True, "AttributeName": EXPIRY}
        await _call(lane, "UpdateTimeToLive", TableName=table, TimeToLiveSpecification=wanted)
    except RefusedError as refusal:
        # Another process did it in between, or an operator has to.
        _log.warning("table.expiry_not_switched_on", table=table, problem=str(refusal))


async def _protect(lane: Lane, table: str) -> None:
    """Switch point-in-time recovery on, at each start too. Where it cannot be, the table is usable all the same."""
    try:
        async with effort(PROTECTED_DEADLINE_S) as attempts:
            while refusal := await _recover(lane, table):
                await attempts.pause(refusal.code, str(refusal))
    except (RefusedError, FeedmeshError) as error:
        _log.warning("table.recovery_not_switched_on", table=table, problem=str(error))


async def _recover(lane: Lane, table: str) -> RefusedError | None:
    """Give the refusal of an engine that cannot do it yet, which AWS cannot for a while after a table was made."""
    try:
        answer = await _call(lane, "DescribeContinuousBackups", TableName=table)
        found = answer.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
        if found.get("PointInTimeRecoveryStatus") != "ENABLED":
            wanted = {"PointInTimeRecoveryEnabled": True}
            await _call(lane, "UpdateContinuousBackups", TableName=table, PointInTimeRecoverySpecification=wanted)
    except RefusedError as refusal:
        if refusal.code != _NOT_YET:
            raise
        return refusal
    return None
