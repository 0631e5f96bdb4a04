"""The copy of the log of turns: who asks gets every turn that was committed before, and many who ask at once cost one call."""

import asyncio

import pytest

from meshkit.errors import UnavailableError
from tests.timeline.home import World
from timeline_svc.ports import Turned
from timeline_svc.turns import Turns

AUTHOR, OTHER, NEVER = 1, 2, 3


def turn(world: World, author_id: int, number: int, *, pushed: bool = False) -> None:
    """Commit a turn."""
    world.turns[author_id] = Turned(author_id, number, turned_ms=number, pushed=pushed)


async def test_every_turn_that_was_committed_is_given() -> None:
    """Of the authors asked for, those who ever turned are given with their last turn, back to push or not."""
    world = World()
    turns = Turns(world)
    assert await turns.of([AUTHOR, OTHER, NEVER]) == {}
    turn(world, AUTHOR, 1)
    turn(world, OTHER, 2)
    assert await turns.of([AUTHOR, OTHER, NEVER]) == {AUTHOR: 1, OTHER: 2}
    turn(world, AUTHOR, 3, pushed=True)
    assert await turns.of([AUTHOR, NEVER]) == {AUTHOR: 3}
    assert turns.known[AUTHOR].pushed
    assert await turns.of([OTHER]) == {OTHER: 2}


async def test_only_new_turns_are_told() -> None:
    """What is known is not told again."""
    world = World()
    turns = Turns(world)
    for number in range(1, 6):
        turn(world, number, number)
        await turns.of([number])
    assert world.calls["turns told"] == 5


async def test_an_asking_that_began_before_is_no_answer() -> None:
    """Who asks after a turn was committed gets it, also while an earlier asking is under way that cannot know it."""
    world = World()
    turns = Turns(world)
    held = world.gate("turned")
    async with asyncio.TaskGroup() as tasks:
        early = tasks.create_task(turns.of([AUTHOR]))
        await held.reached.wait()
        turn(world, AUTHOR, 1)
        late = tasks.create_task(turns.of([AUTHOR]))
        held.open()
    assert early.result() == {}
    assert late.result() == {AUTHOR: 1}


async def test_who_comes_while_others_are_asking_is_not_counted_as_answered() -> None:
    """A turn that is committed while the second asking is under way is told to who asks after it."""
    world = World()
    turns = Turns(world)
    first, second = world.gate("turned"), world.gate("turned")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(turns.of([AUTHOR]))
        await first.reached.wait()
        waiting = tasks.create_task(turns.of([AUTHOR]))
        first.open()
        await second.reached.wait()
        turn(world, AUTHOR, 1)
        late = tasks.create_task(turns.of([AUTHOR]))
        await asyncio.sleep(0)
        second.open()
    assert (waiting.result(), late.result()) == ({}, {AUTHOR: 1})


async def test_many_who_wait_are_answered_by_one_asking() -> None:
    """Behind an asking that is under way, all who wait are answered by the next one."""
    world = World()
    turns = Turns(world)
    held = world.gate("turned")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(turns.of([AUTHOR]))
        await held.reached.wait()
        turn(world, AUTHOR, 1)
        waiting = [tasks.create_task(turns.of([AUTHOR])) for _ in range(50)]
        await asyncio.sleep(0)
        held.open()
    assert [each.result() for each in waiting] == [{AUTHOR: 1}] * 50
    assert world.calls["turned"] == 2


async def test_an_asking_that_fails_answers_nobody() -> None:
    """When the posts do not answer, who asked is told so, and the next asking starts where the last good one ended."""
    world = World()
    turns = Turns(world)
    turn(world, AUTHOR, 1)
    world.away = True
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await turns.of([AUTHOR])
    world.away = False
    assert await turns.of([AUTHOR]) == {AUTHOR: 1}
