"""Safe retries (AIP-155): the first answer to a request id is kept for a day, in the same write as what the request did."""

import hashlib
import time
from dataclasses import dataclass

import msgspec

from meshkit.errors import AlreadyExistsError
from meshkit.table.port import ConditionFailedError, Existence, Key, Put, Table

LIFETIME_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class RequestId:
    """A request id as its caller sent it, with the whole request it came in."""

    caller: str
    value: str
    request: bytes

    @property
    def key(self) -> Key:
        """Where its answer is kept."""
        return Key(b"request/" + self.caller.encode(), self.value.encode())

    @property
    def fingerprint(self) -> bytes:
        """What tells this request from another one with the same id."""
        return hashlib.sha256(self.request).digest()


class _Answered(msgspec.Struct, array_like=True):
    fingerprint: bytes
    answer: bytes


def answer_record(request: RequestId, answer: bytes) -> Put:
    """Make the operation that keeps an answer; its condition fails when the request id was answered before."""
    value = msgspec.msgpack.encode(_Answered(request.fingerprint, answer))
    return Put(request.key, value, condition=Existence.ABSENT, expires_at=time.time() + LIFETIME_S)


async def first_answer(table: Table, request: RequestId) -> bytes | None:
    """Give the answer that a request id got first, or None.

    Raises:
        AlreadyExistsError: the id was used for another request.

    """
    item = await table.get(request.key)
    if item is None:
        return None
    answered = msgspec.msgpack.decode(item.value, type=_Answered)
    if answered.fingerprint != request.fingerprint:
        problem = "was used for another request: use a new one"
        raise AlreadyExistsError(f"request_id {problem}", reason="REQUEST_ID_REUSED", fields={"request_id": problem})
    return answered.answer


async def remember(table: Table, request: RequestId | None, answer: bytes) -> None:
    """Keep the answer of a request that had nothing to write.

    Raises:
        AlreadyExistsError: the id was used for another request.

    """
    if request:
        try:
            await table.write(answer_record(request, answer))
        except ConditionFailedError:
            await first_answer(table, request)
