"""Calls that go together."""

import asyncio
from collections.abc import Sequence

import pytest

from meshkit.errors import UnavailableError
from meshkit.together import Together


class Calls:
    """Doubles numbers, and notes with whom each was asked; `hold` makes calls wait."""

    def __init__(self) -> None:
        self.made: list[list[int]] = []
        self.most = 0
        self.begun = asyncio.Event()
        self.hold = asyncio.Event()
        self.failure: Exception | None = None
        self._under_way = 0

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        """Double."""
        self.made.append([*numbers])
        self.begun.set()
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            await self.hold.wait()
        finally:
            self._under_way -= 1
        if self.failure:
            raise self.failure
        return [2 * number for number in numbers]


def gathering(calls: Calls, room: int = 1_000) -> Together[int, int]:
    """Make what is tested: a number's size is itself."""
    return Together(calls, room=room, size=lambda number: number)


async def test_who_comes_meanwhile_goes_together() -> None:
    """What is asked for while a call is under way makes up the next one, and everybody gets the own answer."""
    calls = Calls()
    async with gathering(calls) as together:
        first = asyncio.create_task(together.ask(1))
        await calls.begun.wait()
        others = [asyncio.create_task(together.ask(number)) for number in range(2, 10)]
        await asyncio.sleep(0)
        calls.hold.set()
        assert await asyncio.gather(first, *others) == [2 * number for number in range(1, 10)]
    assert calls.made == [[1], [*range(2, 10)]]
    assert calls.most == 1


async def test_who_comes_alone_goes_at_once() -> None:
    """Where nothing is under way nobody waits for company."""
    calls = Calls()
    calls.hold.set()
    async with gathering(calls) as together:
        assert [await together.ask(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert calls.made == [[1], [2], [3]]


async def test_there_is_only_so_much_room() -> None:
    """A call takes no more than its room, in the order of asking, and what is larger alone."""
    calls = Calls()
    calls.hold.set()
    async with gathering(calls, room=10) as together:
        asked = [4, 4, 4, 99, 1]
        assert await asyncio.gather(*map(together.ask, asked)) == [2 * number for number in asked]
    assert calls.made == [[4, 4], [4], [99], [1]]


async def test_a_failure_is_everybodys_and_only_theirs() -> None:
    """Whoever goes together fails together; who comes later is asked for anew."""
    calls = Calls()
    calls.hold.set()
    calls.failure = ValueError("no")
    async with gathering(calls) as together:
        outcomes = await asyncio.gather(*map(together.ask, (1, 2)), return_exceptions=True)
        assert outcomes == [calls.failure, calls.failure]
        calls.failure = None
        assert await together.ask(3) == 6


async def test_who_leaves_takes_nobody_along() -> None:
    """One who is cancelled, though it was the first, leaves the others their answers."""
    calls = Calls()
    async with gathering(calls) as together:
        leaving, staying = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
        await calls.begun.wait()
        leaving.cancel()
        calls.hold.set()
        assert await staying == 4
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert calls.made == [[1, 2]]


async def test_an_end_answers_those_who_wait() -> None:
    """Whoever still waits at the end is told that nothing came of it, those under way and those whose turn had not come."""
    calls = Calls()
    async with gathering(calls) as together:
        first = asyncio.create_task(together.ask(1))
        await calls.begun.wait()
        second = asyncio.create_task(together.ask(2))
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError, UnavailableError]
    assert calls.made == [[1]]
