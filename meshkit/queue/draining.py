"""Let tasks end in peace, within bounds."""

import asyncio
from collections.abc import Collection
from typing import Any


async def finish(tasks: Collection[asyncio.Task[Any]], *, seconds: float) -> None:
    """Wait until all tasks have ended. Those left after some seconds, or when the caller is cancelled, are cancelled."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        left = [task for task in tasks if task.cancel()]
        if left:
            await asyncio.wait(left)
