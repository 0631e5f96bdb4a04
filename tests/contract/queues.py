"""The queue engines."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue


def _memory(_folder: Path) -> AbstractAsyncContextManager[Queue]:
    return MemoryQueue(pause=lambda _deliveries: 0.0)


# Each makes an engine whose pauses between deliveries are as short as it can.
QUEUES: dict[str, Callable[[Path], AbstractAsyncContextManager[Queue]]] = {"memory": _memory}
