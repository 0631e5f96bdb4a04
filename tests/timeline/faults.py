"""Breaking servers, and what is expected of those who have to do with them meanwhile."""

import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from meshkit.errors import UnavailableError
from meshkit.process import Child
from tests.timeline.servers import until
from timeline_svc.ports import TimelineStore
from timeline_svc.redis_store import READ_SECONDS

# What reading from the tables, which are dictionaries here, takes at most on a busy machine.
SOON = 0.2
# As long as the circuit stays open, and some.
_BACK_SECONDS = 3.0


@contextmanager
def frozen(child: Child) -> Iterator[None]:
    """Stop a process as it stands, for the length of a block."""
    os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGCONT)


async def seconds_of(read: Callable[[], Awaitable[object]]) -> float:
    """Time a read."""
    started = time.monotonic()
    await read()
    return time.monotonic() - started


async def until_passed_by(read: Callable[[], Awaitable[object]]) -> list[float]:
    """Read until a server that is frozen is no longer waited for, and give how long the reads took that waited.

    Usually these are five; on a busy machine some more, as deadlines that are noticed late do not count.
    """
    times = [await seconds_of(read)]
    while times[-1] > READ_SECONDS / 2:
        times.append(await seconds_of(read))
        assert len(times) < 15
    return times[:-1]


async def answers(store: TimelineStore, user: int) -> bool:
    """Tell whether the store reads a user's timeline."""
    try:
        await store.read_home(user, 20)
    except UnavailableError:
        return False
    return True


async def is_back(store: TimelineStore, user: int) -> None:
    """Wait until the store reads a user's timeline, which may not take long."""
    started = time.monotonic()
    await until(lambda: answers(store, user))
    assert time.monotonic() - started < _BACK_SECONDS
