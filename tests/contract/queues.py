"""The queue engines."""

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue
from meshkit.queue.rabbitmq import open_rabbitmq

OpenQueue = Callable[[], AbstractAsyncContextManager[Queue]]
"""Opens a broker without queues, whose pauses between deliveries are as short as it can."""


@dataclass(frozen=True, slots=True)
class Server:
    """A private RabbitMQ server, shared by all tests: each takes queue names of its own."""

    url: str
    folder: Path

    @property
    def pid(self) -> int:
        """Process id; it changes with every restart."""
        return int((self.folder / "rabbitmq" / "pid").read_text())


def unique_prefix() -> str:
    """Make up what the names of a test's exchanges and queues begin with."""
    return secrets.token_hex(4)


def _memory(_request: pytest.FixtureRequest) -> OpenQueue:
    return partial(MemoryQueue, pause=_at_once)


def _rabbitmq(request: pytest.FixtureRequest) -> OpenQueue:
    server: Server = request.getfixturevalue("rabbitmq")
    return lambda: open_rabbitmq(server.url, prefix=unique_prefix(), pause=_at_once)


def _at_once(_deliveries: int) -> float:
    return 0.0


QUEUES: dict[str, Callable[[pytest.FixtureRequest], OpenQueue]] = {"memory": _memory, "rabbitmq": _rabbitmq}
