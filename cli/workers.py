"""Bounded concurrency: a few tasks that take jobs from one iterator."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

_Job = TypeVar("_Job")


async def work_through(jobs: Iterable[_Job], do: Callable[[_Job], Awaitable[None]], *, concurrency: int) -> None:
    """Do every job, at most `concurrency` at a time.

    The first failure stops the others and is raised as it is, not in a group: the workers do the same kind
    of thing, so one tells all.
    """
    shared = iter(jobs)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(_drain(shared, do))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _drain(jobs: Iterator[_Job], do: Callable[[_Job], Awaitable[None]]) -> None:
    for job in jobs:
        await do(job)
