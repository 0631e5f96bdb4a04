"""A consumer that keeps what it gets."""

import asyncio
from collections.abc import Callable

from meshkit.queue.port import Message

PATIENCE = 20.0


class Inbox:
    """Keeps the bodies of messages, and lets a test wait for them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.gaps = 0
        self._came = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        """Take a message."""
        async with self._came:
            self.bodies.append(message.body)
            self._came.notify_all()

    def miss(self) -> None:
        """Note that messages may have gone by unheard."""
        self.gaps += 1

    async def wait_for(self, holds: Callable[[list[bytes]], bool]) -> None:
        """Wait until something holds of the bodies."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: holds(self.bodies))
