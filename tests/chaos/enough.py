"""Ends a load as soon as its log shows what is looked for: a bug that is found need not be found again."""

import asyncio
from collections.abc import Callable, Collection, Coroutine

from tests.chaos.findings import Findings

_LOOK_EVERY_S = 1.0


class _FoundError(Exception):
    """There is no need to go on."""


async def until_found(kinds: Collection[str], judged: Callable[[], Findings], load: Coroutine[None, None, None]) -> None:
    """Let a load go on to its end, or until `judged` finds differences of one of these kinds."""
    try:
        async with asyncio.TaskGroup() as group:
            lookout = group.create_task(_look_out(kinds, judged))
            await load
            lookout.cancel()
    except* _FoundError:
        pass


async def _look_out(kinds: Collection[str], judged: Callable[[], Findings]) -> None:
    while kinds:
        await asyncio.sleep(_LOOK_EVERY_S)
        if (await asyncio.to_thread(judged)).has(kinds):
            raise _FoundError
