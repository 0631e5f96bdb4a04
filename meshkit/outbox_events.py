"""Events, and how the outbox keeps them in a table."""

from dataclasses import dataclass, field

import msgspec
import structlog

from meshkit import tracing
from meshkit.buckets import bucket_of
from meshkit.ids import id_bytes, id_from
from meshkit.table.port import Existence, Item, Key, Put

_SHARDS = 16
PARTITIONS = tuple(b"outbox/%d" % shard for shard in range(_SHARDS))
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """An event to be sent: a time-ordered id, the topic and the encoded body. A broadcast may find nobody listening.

    It belongs to the trace in which it was made, whoever sends it later.
    """

    event_id: int
    topic: str
    body: bytes
    broadcast: bool = False
    traceparent: str = field(default_factory=tracing.traceparent)

    @property
    def key(self) -> Key:
        """Where it waits: in one of some partitions, so that no single one takes every write."""
        return Key(PARTITIONS[bucket_of(self.event_id) % _SHARDS], id_bytes(self.event_id))


class _Row(msgspec.Struct, array_like=True):
    topic: str
    body: bytes
    broadcast: bool
    traceparent: str = ""  # rows of the first release have none


def outbox_record(event: Event) -> Put:
    """Make the operation that keeps an event until it is sent."""
    row = _Row(event.topic, event.body, event.broadcast, event.traceparent)
    return Put(event.key, msgspec.msgpack.encode(row), condition=Existence.ABSENT)


def event_in(item: Item) -> Event | None:
    """Read an event. One that cannot be read is logged, and stays where it is."""
    event_id = id_from(item.key.sort)
    try:
        row = msgspec.msgpack.decode(item.value, type=_Row)
    except ValueError:  # msgspec's own errors, and text that is not UTF-8
        _log.exception("an event in the outbox cannot be read; it stays there", event_id=event_id)
        return None
    return Event(event_id, row.topic, row.body, row.broadcast, row.traceparent)
