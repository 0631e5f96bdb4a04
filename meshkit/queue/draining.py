"""Let tasks end in peace, unless whoever waits for that is cancelled."""

import asyncio
from collections.abc import Collection
from typing import Any


async def finish(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all tasks have ended. A caller that is cancelled meanwhile cancels them, and still waits for that."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        left = [task for task in tasks if task.cancel()]
        if left:
            await asyncio.wait(left)
        raise
