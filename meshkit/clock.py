"""The time."""

import time


def now_ms() -> int:
    """Give the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
