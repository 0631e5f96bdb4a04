"""What ends calls that take too long."""

import asyncio

import pytest

from meshkit.rpc.limits import Limit, Limits

PATIENCE = 30.0


async def wait(limits: Limits, seconds: float) -> float:
    """Wait for what never comes, and tell at what time of the event loop's clock that ended."""
    loop = asyncio.get_running_loop()
    try:
        with Limit(limits, seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        return loop.time()
    raise AssertionError


async def test_each_ends_at_its_own_time() -> None:
    """Of calls that began together, each ends when its own time is over and not before, in whatever order they came."""
    limits, loop = Limits(), asyncio.get_running_loop()
    began = loop.time()
    seconds = [0.2, 0.05, 0.0, 0.1, PATIENCE]
    async with asyncio.timeout(PATIENCE / 2):
        calls = [asyncio.ensure_future(wait(limits, each)) for each in seconds]
        ended = [await call - began for call in calls[:-1]]
    assert all(end >= each for end, each in zip(ended, seconds, strict=False))
    assert sorted(ended) == [ended[2], ended[1], ended[3], ended[0]]
    assert not calls[-1].done()
    calls[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[-1]


async def test_what_ends_in_time_is_left_alone() -> None:
    """After its block a task goes on, however long, and what the block raised is what is raised."""
    limits = Limits()
    with pytest.raises(ValueError, match="bug"), Limit(limits, 0.01):
        raise ValueError("bug")
    with Limit(limits, 0.01):
        await asyncio.sleep(0)
    assert await wait(limits, 0.05)
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    """A task that is cancelled before its time is over was not late."""
    limits = Limits()
    task = asyncio.ensure_future(wait(limits, PATIENCE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
