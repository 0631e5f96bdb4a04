"""A stretch of a feed below its timeline, put together once for the pages that follow each other down.

    stamp (7) ‖ upper (8) ‖ floor (8) ‖ entry · entry · …          entries as in a timeline, ascending

It holds all of the feed from the floor to below the upper end, as long as the record beside the timeline has the same stamp.
Authors who left the feed meanwhile are in it still, and hidden by its readers.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from timeline_svc.packed import Entry, pack_entries, unpack_numbers

_HEAD = struct.Struct(">7sQQ")


@dataclass(frozen=True, slots=True)
class Segment:
    """The stretch. A floor of 0 is the feed's very end."""

    stamp: bytes
    upper: int
    floor: int
    post_ids: Sequence[int]
    author_ids: Sequence[int]

    @classmethod
    def of(cls, stamp: bytes, upper: int, entries: Sequence[Entry], *, wanted: int) -> Self:
        """Make a segment of entries (newest first) below `upper`; fewer than wanted are all that there are."""
        floor = entries[-1].post_id if len(entries) == wanted else 0
        ascending = entries[::-1]
        return cls(stamp, upper, floor, array("Q", [e.post_id for e in ascending]), array("Q", [e.author_id for e in ascending]))

    def pack(self) -> bytes:
        """Encode the segment."""
        entries = list(map(Entry, self.post_ids, self.author_ids))
        return _HEAD.pack(self.stamp, self.upper, self.floor) + pack_entries(entries)

    @classmethod
    def unpack(cls, value: bytes) -> Self:
        """Decode what `pack` made."""
        stamp, upper, floor = _HEAD.unpack_from(value)
        numbers = unpack_numbers(value[_HEAD.size :])
        return cls(stamp, upper, floor, numbers[0::2], numbers[1::2])

    def holds(self, stamp: bytes, below: int) -> bool:
        """Tell whether the feed goes on here, below a post id."""
        return self.stamp == stamp and self.floor < below <= self.upper

    def below(self, below: int, hidden: frozenset[int]) -> list[int]:
        """Give the post ids below one, newest first, without those of hidden authors."""
        end = bisect_left(self.post_ids, below)
        return [self.post_ids[at] for at in range(end - 1, -1, -1) if self.author_ids[at] not in hidden]
