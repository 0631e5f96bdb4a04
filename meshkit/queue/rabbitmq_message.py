"""How a message looks on RabbitMQ's wire: its topic, its trace and its history stand in properties and headers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiormq import spec
from aiormq.abc import DeliveredMessage
from pamqp.common import FieldTable

from meshkit.clock import now_ms
from meshkit.queue.port import DeadLetter, Message
from meshkit.tracing import HEADER as TRACE

_DELIVERIES = "deliveries"
_FAILURES = "failures"
_REASON = "reason"
_REDRIVE = "redrive"
_PERSISTENT = 2
_MAX_REASON = 2_000
# The content type of what holds several messages: MessagePack of each one's body and trace.
_PACK = "application/vnd.feedmesh.pack"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its history.

    `deliveries` counts those that ended, `failures` those that count towards the delivery limit: outages do not. `redrive` names
    the last redriving that the message was part of. One that is `packed` holds several messages of the topic, and their history is
    its own: whoever fails alone goes on alone.
    """

    topic: str
    body: bytes
    traceparent: str = ""
    deliveries: int = 0
    failures: int = 0
    reason: str = ""
    redrive: str = ""
    packed: bool = False

    @classmethod
    def read(cls, delivered: DeliveredMessage) -> "Envelope":
        """Read what the broker delivered. Deliveries that a consumer's death cut short are counted by the broker."""
        properties = delivered.header.properties
        headers: dict[str, Any] = properties.headers or {}
        return cls(
            topic=properties.message_type or delivered.routing_key or "",
            body=delivered.body,
            traceparent=str(headers.get(TRACE, "")),
            deliveries=_count(headers, _DELIVERIES) + _count(headers, "x-delivery-count"),
            failures=_count(headers, _FAILURES),
            reason=str(headers.get(_REASON) or _broker_reason(headers)),
            redrive=str(headers.get(_REDRIVE, "")),
            packed=properties.content_type == _PACK,
        )

    @classmethod
    def packing(cls, members: Sequence["Envelope"]) -> "Envelope":
        """Put fresh messages of one topic, at least one, into one."""
        if len(members) == 1:
            return members[0]
        held = [(member.body, member.traceparent) for member in members]
        return cls(members[0].topic, msgspec.msgpack.encode(held), packed=True)

    def members(self) -> list["Envelope"]:
        """Give the messages that it holds, or itself. What cannot be unpacked is for the handler to refuse."""
        if not self.packed:
            return [self]
        try:
            held = msgspec.msgpack.decode(self.body, type=list[tuple[bytes, str]])
        except ValueError:  # msgspec's own errors, and text that is not UTF-8
            return [self]
        return [replace(self, body=body, traceparent=traceparent, packed=False) for body, traceparent in held]

    @property
    def message(self) -> Message:
        """What a handler gets."""
        return Message(self.topic, self.body, self.deliveries + 1, redriven=bool(self.redrive))

    @property
    def dead_letter(self) -> DeadLetter:
        """What is shown of a message that was given up."""
        return DeadLetter(self.topic, self.body, self.reason)

    def tried(self, *, failed: bool) -> "Envelope":
        """Count the delivery that just ended."""
        return replace(self, deliveries=self.deliveries + 1, failures=self.failures + failed)

    def buried(self, reason: str) -> "Envelope":
        """Give the message up. A header has to fit into one frame, and to be text."""
        return replace(self, reason=reason[:_MAX_REASON].encode(errors="replace").decode())

    def afresh(self, redrive: str) -> "Envelope":
        """Forget the history, and begin another."""
        return Envelope(self.topic, self.body, self.traceparent, redrive=redrive, packed=self.packed)

    def properties(self, *, expiration_ms: int | None = None) -> spec.Basic.Properties:
        """Give the wire's properties. What has an expiration comes back from a retry queue after it."""
        headers: FieldTable = {
            name: value
            for name, value in (
                (TRACE, self.traceparent),
                (_DELIVERIES, self.deliveries),
                (_FAILURES, self.failures),
                (_REASON, self.reason),
                (_REDRIVE, self.redrive),
                ("dead_at_ms", now_ms() if self.reason else 0),
            )
            if value
        }
        return spec.Basic.Properties(
            delivery_mode=_PERSISTENT,
            message_type=self.topic,
            content_type=_PACK if self.packed else None,
            headers=headers or None,
            expiration=None if expiration_ms is None else str(expiration_ms),
        )


def _count(headers: dict[str, Any], name: str) -> int:
    value = headers.get(name, 0)
    return value if isinstance(value, int) else 0


def _broker_reason(headers: dict[str, Any]) -> str:
    """Tell why the broker itself gave a message up."""
    for death in headers.get("x-death") or ():
        if death.get("reason") == "delivery_limit":
            return f"delivery_limit: {death.get('queue')} handed it out again and again, and no consumer lived to finish it"
    return "unknown"
