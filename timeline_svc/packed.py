"""A timeline as one packed string, the way Redis keeps it.

    entry · entry · … · entry · slack · trailer

All parts are 16 bytes, big-endian. An entry is `post_id ‖ author_id`; entries ascend by post id, so the newest stand at the end.
Slack is up to 16 empty parts that new entries are written into: appending to a Redis string would double its allocation instead.
The trailer is `format (1) ‖ state (1) ‖ slack count (1) ‖ generation (3) ‖ entry count (2) ‖ floor (8)`; it stands at the end so
that one GETRANGE of the tail brings it together with the newest entries.

The generation is random, and new each time that a timeline is begun: what was read for one that is lost meanwhile must not complete
the next one.

The floor is the id from which on the timeline is complete: below it only the tables know more. 0: it is complete to its beginning.
"""

import secrets
import struct
import sys
from array import array
from collections.abc import Sequence
from enum import Enum
from itertools import chain
from typing import NamedTuple, Self

ENTRY_BYTES = 16
SLACK = 16
GENERATION_BYTES = 3
_FORMAT = 1
_TRAILER = struct.Struct(">BBB3sHQ")


class State(Enum):
    """What a stored timeline is good for."""

    REBUILDING = 0
    READY = 1


class Entry(NamedTuple):
    """A post's place in timelines."""

    post_id: int
    author_id: int

    def pack(self) -> bytes:
        """Give the entry's 16 bytes."""
        return struct.pack(">QQ", self.post_id, self.author_id)


class Window(NamedTuple):
    """The newest part of a timeline: ids ascending, with the author of each."""

    state: State
    floor: int
    post_ids: Sequence[int]
    author_ids: Sequence[int]
    whole: bool
    generation: bytes = b""

    @classmethod
    def unpack(cls, tail: bytes) -> Self | None:
        """Decode the end of a packed timeline, or all of it; None where there is none, or none of this format."""
        if len(tail) < ENTRY_BYTES or len(tail) % ENTRY_BYTES:
            return None
        form, state, slack, generation, count, floor = _TRAILER.unpack_from(tail, len(tail) - ENTRY_BYTES)
        if form != _FORMAT:
            return None
        read = len(tail) // ENTRY_BYTES - 1 - slack
        numbers = unpack_numbers(tail[: read * ENTRY_BYTES])
        return cls(State(state), floor, numbers[0::2], numbers[1::2], read == count, generation)

    @property
    def complete_from(self) -> int:
        """The id from which on this part has everything."""
        return self.floor if self.whole else self.post_ids[0]


def tail_bytes(entries: int) -> int:
    """Give how many bytes from the end hold the newest entries, whatever the slack."""
    return (entries + SLACK + 1) * ENTRY_BYTES


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """Pack entries that ascend by post id."""
    return struct.pack(f">{2 * len(entries)}Q", *chain.from_iterable(entries))


def unpack_numbers(packed: bytes) -> Sequence[int]:
    """Give the 64-bit numbers of packed entries: post id, author id, post id, and so on.

    An array, since most are never looked at: it makes no object of any but those that are.
    """
    numbers = array("Q", packed)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def new_timeline() -> bytes:
    """Give a packed timeline without entries, of a new generation, that is not ready."""
    generation = secrets.token_bytes(GENERATION_BYTES)
    return bytes(SLACK * ENTRY_BYTES) + _TRAILER.pack(_FORMAT, State.REBUILDING.value, SLACK, generation, 0, 0)
