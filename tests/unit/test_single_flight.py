"""Work that many want at the same time is done once, and who gives up or fails spoils it for nobody else."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshkit.single_flight import SingleFlight

Flight = SingleFlight[str, list[str]]


class Work:
    """Work that goes on until it is let go; then it gives its keys, or fails."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.cancelled: list[list[str]] = []
        self.begun = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: list[str]) -> list[str]:
        """Do the work."""
        self.asked.append(keys)
        self.begun.release()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(keys)
            raise
        if self.error:
            raise self.error
        return keys


async def wait_for(tasks: set[asyncio.Task[list[str]]]) -> list[list[str]]:
    """Wait as one of many does."""
    return sorted([await asyncio.shield(task) for task in tasks])


@pytest.fixture
async def flight() -> AsyncIterator[Flight]:
    """Share work for the length of a test."""
    async with Flight() as opened:
        yield opened


@pytest.fixture
def work() -> Work:
    """Have something to do."""
    return Work()


async def test_the_same_key_is_worked_on_once(flight: Flight, work: Work) -> None:
    """All who want a key while it is worked on share one task and its result."""
    wanted = [flight.start(["a"], work) for _ in range(3)]
    await work.begun.acquire()
    wanted.append(flight.start(["a"], work))
    work.go.set()
    assert [await wait_for(tasks) for tasks in wanted] == [[["a"]]] * 4
    assert work.asked == [["a"]]


async def test_only_new_keys_are_worked_on(flight: Flight, work: Work) -> None:
    """Of keys that overlap, those under way are left to who has them; the tasks together bring them all."""
    one, two = flight.start(["a", "b"], work), flight.start(["b", "c"], work)
    work.go.set()
    assert await wait_for(one) == [["a", "b"]]
    assert await wait_for(two) == [["a", "b"], ["c"]]
    assert work.asked == [["a", "b"], ["c"]]


async def test_no_keys_are_no_work(flight: Flight, work: Work) -> None:
    """Who wants nothing waits for nothing, and nothing is started."""
    assert flight.start([], work) == set()
    assert not work.asked


async def test_a_result_is_not_kept(flight: Flight, work: Work) -> None:
    """Who wants a key after its work is done has it done again."""
    work.go.set()
    for _ in range(2):
        assert await wait_for(flight.start(["a"], work)) == [["a"]]
    assert work.asked == [["a"], ["a"]]


async def test_a_forgotten_key_starts_anew(flight: Flight, work: Work) -> None:
    """The next who wants a forgotten key has work of its own; other keys stay shared, and who waited already has a result."""
    old = flight.start(["a", "b"], work)
    flight.forget("a")
    new = flight.start(["a", "b"], work)
    assert old < new
    work.go.set()
    assert await wait_for(old) == [["a", "b"]]
    assert await wait_for(new) == [["a"], ["a", "b"]]


async def test_the_end_of_forgotten_work_leaves_its_successor(flight: Flight, work: Work) -> None:
    """When forgotten work ends, the work that took its place is still shared."""
    successor = Work()
    old = flight.start(["a"], work)
    flight.forget("a")
    new = flight.start(["a"], successor)
    work.go.set()
    await wait_for(old)
    assert flight.start(["a"], successor) == new
    successor.go.set()
    await wait_for(new)
    assert successor.asked == [["a"]]


async def test_forgetting_what_nobody_wants(flight: Flight, work: Work) -> None:
    """A key that is not under way can be forgotten, with no effect."""
    flight.forget("a")
    work.go.set()
    assert await wait_for(flight.start(["a"], work)) == [["a"]]


async def test_a_failure_reaches_all_who_wait(flight: Flight, work: Work) -> None:
    """Everybody who waits for failing work has its error; the next who wants the key starts anew."""
    work.error = ValueError("failed")
    waiting = [wait_for(flight.start(["a"], work)) for _ in range(3)]
    work.go.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [work.error] * 3
    assert work.asked == [["a"]]
    work.error = None
    assert await wait_for(flight.start(["a"], work)) == [["a"]]


async def test_a_failure_that_nobody_waits_for_is_quiet(flight: Flight, work: Work) -> None:
    """Work that fails when all have left is not reported as an error that nobody took."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    work.error = ValueError("failed")
    (task,) = flight.start(["a"], work)
    work.go.set()
    await asyncio.wait([task])
    del task
    gc.collect()
    assert not complaints


async def test_who_leaves_harms_nobody(flight: Flight, work: Work) -> None:
    """The work goes on for the others, and for those who come later, when the one who started it is cancelled."""
    first, second = (asyncio.create_task(wait_for(flight.start(["a"], work))) for _ in range(2))
    await work.begun.acquire()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    third = flight.start(["a"], work)
    work.go.set()
    assert await second == await wait_for(third) == [["a"]]
    assert (work.asked, work.cancelled) == ([["a"]], [])


async def test_the_end_cancels_what_is_not_done(work: Work) -> None:
    """At the end of the context no work is left, forgotten work neither, and who still waits is told."""
    async with Flight() as flight:
        forgotten = flight.start(["a"], work)
        flight.forget("a")
        tasks = forgotten | flight.start(["a"], work) | flight.start(["b"], work)
        for _ in range(3):
            await work.begun.acquire()
    assert all(task.cancelled() for task in tasks)
    assert sorted(work.cancelled) == [["a"], ["a"], ["b"]]


async def test_work_that_fails_at_the_end_fails_no_other(work: Work) -> None:
    """Work that answers its cancellation with an error does not make the end of the context fail."""

    async def failing(keys: list[str]) -> list[str]:
        try:
            return await work(keys)
        except asyncio.CancelledError as error:
            raise ValueError("failed") from error

    async with Flight() as flight:
        (task,) = flight.start(["a"], failing)
        await work.begun.acquire()
    assert isinstance(task.exception(), ValueError)
