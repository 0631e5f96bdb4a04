"""Time-ordered unsigned 64-bit ids: 41 bits of milliseconds, 10 of worker, 12 of sequence (Twitter's Snowflake, 2010)."""

from collections.abc import Callable

from meshkit.clock import now_ms

EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z; the first bit of an id stays 0 until 2093
MAX_WORKER = 1023
MAX_ID = 2**64 - 1
_TIME_SHIFT = 22
_WORKER_SHIFT = 12
_SEQUENCES = 4096


class IdGenerator:
    """Gives ids that grow. No two generators that run at once may share a worker number (0 to 1,023).

    A clock that steps back does not matter while the process lives: ids go on from the last millisecond used. More than 4,096
    ids in a millisecond borrow from the next one.
    """

    def __init__(self, worker: int, clock_ms: Callable[[], int] = now_ms) -> None:
        if not 0 <= worker <= MAX_WORKER:
            raise ValueError(f"a worker number is 0 to {MAX_WORKER}, not {worker}")
        self._worker = worker << _WORKER_SHIFT
        self._clock_ms = clock_ms
        self._millisecond = 0
        self._sequence = 0

    def next(self) -> int:
        """Give an id that is larger than all before."""
        now = self._clock_ms() - EPOCH_MS
        if now > self._millisecond:
            self._millisecond, self._sequence = now, 0
        else:
            self._sequence += 1
            if self._sequence == _SEQUENCES:
                self._millisecond, self._sequence = self._millisecond + 1, 0
        return self._millisecond << _TIME_SHIFT | self._worker | self._sequence


def time_ms_of(identifier: int) -> int:
    """Give the Unix time in milliseconds at which an id was made."""
    return (identifier >> _TIME_SHIFT) + EPOCH_MS


def first_id_at(time_ms: int) -> int:
    """Give the smallest id that can be made at a Unix time in milliseconds, for range queries by time."""
    return max(0, time_ms - EPOCH_MS) << _TIME_SHIFT


def id_bytes(identifier: int) -> bytes:
    """Encode an id as 8 bytes that order as the number does."""
    return identifier.to_bytes(8)


def id_from(encoded: bytes) -> int:
    """Decode what `id_bytes` made."""
    return int.from_bytes(encoded)
