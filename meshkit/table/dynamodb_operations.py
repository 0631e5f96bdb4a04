"""A write's operations in DynamoDB's words.

Every operation but a deletion is an update, which gives an item its next version by itself. An item that has expired, and that
DynamoDB has not removed yet, counts as absent: every condition says so.
"""

from meshkit.table.dynamodb_items import Value, binary, expiry, number, row_key
from meshkit.table.limits import MAX_NUMBER, MIN_NUMBER
from meshkit.table.port import Add, AtVersion, Check, Condition, Delete, Existence, Operation, Put

CHECK = "ConditionCheck"
_LIVE = "(attribute_not_exists(e) OR e > :now)"


def request(table: str, operation: Operation, now: float, *, anew: bool) -> tuple[str, dict[str, object]]:
    """Give an operation's name in a transaction, and what it says; as a single call it is the same with "Item" after its name."""
    match operation:
        case Put(value=value, condition=condition, expires_at=expires_at):
            kind, (demand, values) = "Update", _demand(condition, now)
            change = "SET v = :v, n = :zero" + (" REMOVE e" if expires_at is None else ", e = :e") + " ADD r :one"
            values = values | {":v": binary(value), ":zero": number(0), ":one": number(1)}
            values |= {} if expires_at is None else {":e": expiry(expires_at)}
        case Add(amount=amount):
            kind, (demand, values) = "Update", _demand_of_add(amount, now, anew=anew)
            change = "SET n = :amount REMOVE v, e ADD r :one" if anew else "ADD n :amount, r :one"
            values |= {":amount": number(amount), ":one": number(1)}
        case Delete(condition=condition):
            kind, change, (demand, values) = "Delete", "", _demand(condition, now)
        case Check(condition=condition):
            kind, change, (demand, values) = CHECK, "", _demand(condition, now)
    parts: dict[str, object] = {
        "UpdateExpression": change,
        "ConditionExpression": demand,
        "ExpressionAttributeValues": values,
        # Tells an addition that found an expired item from one whose sum is too large.
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD" if isinstance(operation, Add) else "",
    }
    return kind, {"TableName": table, "Key": row_key(operation.key)} | {name: part for name, part in parts.items() if part}


def _demand(condition: Condition, now: float) -> tuple[str, dict[str, Value]]:
    """Give a condition in DynamoDB's words. An expired item that is still there counts as absent."""
    match condition:
        case None:
            return "", {}
        case Existence.ABSENT:
            return "attribute_not_exists(p) OR e <= :now", {":now": number(now)}
        case Existence.PRESENT:
            return f"attribute_exists(p) AND {_LIVE}", {":now": number(now)}
        case AtVersion(version):
            return f"r = :version AND {_LIVE}", {":now": number(now), ":version": number(version)}


def _demand_of_add(amount: int, now: float, *, anew: bool) -> tuple[str, dict[str, Value]]:
    """Demand that the sum stays within 64 bits, of an item that has not expired; or, to start anew, of one that has."""
    if anew:
        return "e <= :now", {":now": number(now)}
    bound = "n <= :bound" if amount > 0 else "n >= :bound"
    limit = MAX_NUMBER - amount if amount > 0 else MIN_NUMBER - amount
    return f"attribute_not_exists(p) OR ({_LIVE} AND {bound})", {":now": number(now), ":bound": number(limit)}
