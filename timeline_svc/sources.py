"""What stands beside a home timeline, in a hash: recent changes of the feed's sources, and its pulled authors.

    author (8)  →  version (8) ‖ '1' if the author's posts went out of the feed, '0' if they came
    "record"    →  generation (3) ‖ epoch (4) ‖ began (8) ‖ mark · mark · …

All numbers are big-endian. The generation is that of the timeline: one without the other is none. The epoch counts the authors who
came since the timeline was begun: what was put together before lacks them. `began` is the first id of the millisecond in which the
timeline was begun. A mark is `author (8) ‖ turn (4)`: the author turned from push to pull at that turn or later, or maybe back.
"""

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

from meshkit.ids import id_from

RECORD = b"record"
_HEAD = struct.Struct(">3sIQ")
_HIDDEN = b"1"
_PAIR = 2


class Sources(NamedTuple):
    """The hash, decoded. `stamp` is the generation and the epoch; it is empty where there is no record."""

    hidden: frozenset[int] = frozenset()
    oldest_change: int = 0
    stamp: bytes = b""
    began: int = 0
    marks: Mapping[int, int] = MappingProxyType({})

    @classmethod
    def unpack(cls, fields: Sequence[bytes]) -> Self:
        """Decode the fields of the hash, names and values in turn: all of them, or none where there is no hash."""
        if len(fields) == _PAIR and fields[0] == RECORD:
            return cls._of(fields[1], frozenset(), 0)
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        record = values.pop(RECORD, b"")
        hidden = frozenset(id_from(author) for author, change in values.items() if change[8:] == _HIDDEN)
        oldest = min((id_from(change[:8]) for change in values.values()), default=0)
        return cls._of(record, hidden, oldest) if record else cls(hidden, oldest)

    @classmethod
    def _of(cls, record: bytes, hidden: frozenset[int], oldest: int) -> Self:
        marks = dict(struct.iter_unpack(">QI", record[_HEAD.size :]))
        return cls(hidden, oldest, record[:7], _HEAD.unpack_from(record)[2], marks)

    @property
    def generation(self) -> bytes:
        """The generation of the timeline that this stands beside."""
        return self.stamp[:3]


def head(began: int) -> bytes:
    """Give a new record without its generation."""
    return struct.pack(">IQ", 0, began)


def pack_marks(marks: Mapping[int, int]) -> bytes:
    """Pack authors with their turns."""
    return b"".join(struct.pack(">QI", author, turn) for author, turn in marks.items())


def pack_turn(turn: int) -> bytes:
    """Pack a turn; no bytes for 0, which is none."""
    return struct.pack(">I", turn) if turn else b""
