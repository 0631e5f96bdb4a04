"""Changes between two users that meet: what one has seen is changed by another before it writes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import pytest
import pytest_asyncio

from graph_svc.domain import FollowerRange
from meshkit.clock import now_ms
from meshkit.errors import NotFoundError, PermissionDeniedError
from meshkit.ids import IdGenerator
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.port import Table
from tests.contract.tables import TABLES, OpenTable
from tests.rpc.graph_parts import Interrupted, Parts, graph_parts

FOLLOWING, ASKING, MUTED, BLOCKING, BLOCKED, NOTHING = "following", "asking", "muted", "blocking", "blocked", ""


@dataclass(frozen=True, slots=True)
class World:
    """Two users, as some services see them; what is done here is between ada and bob."""

    parts: Parts
    ada: int
    bob: int

    async def follow(self) -> None:
        """Ada follows, or asks to."""
        await self.parts.follows.follow(self.ada, self.bob, None)

    async def follow_back(self) -> None:
        """Bob follows ada."""
        await self.parts.follows.follow(self.bob, self.ada, None)

    async def unfollow(self) -> None:
        """Ada unfollows, or asks no more."""
        await self.parts.follows.unfollow(self.ada, self.bob, None)

    async def approve(self) -> None:
        """Bob lets ada in."""
        await self.parts.requests.approve(self.bob, self.ada, None)

    async def reject(self) -> None:
        """Bob does not let ada in."""
        await self.parts.requests.reject(self.bob, self.ada, None)

    async def mute(self) -> None:
        """Ada mutes bob."""
        await self.parts.mutes.mute(self.ada, self.bob, None)

    async def block(self) -> None:
        """Ada blocks bob."""
        await self.parts.blocks.block(self.ada, self.bob, None)

    async def be_blocked(self) -> None:
        """Bob blocks ada."""
        await self.parts.blocks.block(self.bob, self.ada, None)

    async def hide(self) -> None:
        """Bob's account becomes private."""
        await self.parts.accounts.update(self.bob, lambda profile: replace(profile, private=True), None)

    async def show(self) -> None:
        """Bob's account becomes public."""
        await self.parts.accounts.update(self.bob, lambda profile: replace(profile, private=False), None)

    async def facts(self) -> set[str]:
        """Tell what stands, and that every row agrees with it."""
        follows, tie = self.parts.follows, (relation := await self.parts.visibility.relation(self.ada, self.bob)).tie
        edge = [self.ada] if tie.follow_id else []
        fed, _ = await follows.follower_range(self.bob, FollowerRange(), limit=5)
        assert [user.user_id for user in (await follows.followers_page(0, self.bob, 5, None)).users] == edge
        assert fed == (edge if tie.in_feed else [])
        assert (await self.parts.accounts.get(self.bob)).follower_count == len(edge)
        asking = [user.user_id for user in (await self.parts.requests.received_page(self.bob, 5, None)).users]
        assert asking == ([self.ada] if tie.request_id else [])
        assert not (tie.follow_id and tie.request_id)
        if relation.blocking or relation.blocked:
            assert tie.follow_id == tie.request_id == 0
            assert not (await self.parts.visibility.relation(self.bob, self.ada)).tie.follow_id
        stands = {
            FOLLOWING: tie.follow_id,
            ASKING: tie.request_id,
            MUTED: tie.muted,
            BLOCKING: relation.blocking,
            BLOCKED: relation.blocked,
        }
        return {fact for fact, holds in stands.items() if holds}


Step = Callable[[World], Awaitable[None]]


class Race(NamedTuple):
    """What was before, what is wanted, what comes between its look and its write, and what stands in the end."""

    before: Sequence[Step]
    wanted: Step
    between: Sequence[Step]
    stands: str
    refused: type[Exception] | None = None


W = World
RACES = [
    Race([], W.follow, [W.block], BLOCKING, PermissionDeniedError),
    Race([], W.follow, [W.be_blocked], BLOCKED, PermissionDeniedError),
    Race([W.hide], W.follow, [W.be_blocked], BLOCKED, PermissionDeniedError),
    Race([], W.block, [W.follow], BLOCKING),
    Race([], W.block, [W.follow_back], BLOCKING),
    Race([], W.be_blocked, [W.follow], BLOCKED),
    Race([W.hide], W.be_blocked, [W.follow], BLOCKED),
    Race([W.follow], W.block, [W.unfollow], BLOCKING),
    Race([W.follow], W.block, [W.mute], f"{MUTED} {BLOCKING}"),
    Race([W.hide, W.follow], W.approve, [W.block], BLOCKING, NotFoundError),
    Race([W.hide, W.follow], W.approve, [W.be_blocked], BLOCKED, NotFoundError),
    Race([W.hide, W.follow], W.block, [W.approve], BLOCKING),
    Race([W.hide, W.follow], W.approve, [W.unfollow], NOTHING, NotFoundError),
    Race([W.hide, W.follow], W.approve, [W.unfollow, W.show, W.follow], FOLLOWING),
    Race([W.hide, W.follow], W.approve, [W.show], FOLLOWING),
    Race([W.hide, W.follow], W.unfollow, [W.approve], NOTHING),
    Race([W.hide, W.follow], W.reject, [W.approve], FOLLOWING),
    Race([], W.follow, [W.hide], ASKING),
    Race([W.hide], W.follow, [W.show], FOLLOWING),
    Race([], W.follow, [W.mute], f"{FOLLOWING} {MUTED}"),
    Race([], W.mute, [W.follow], f"{FOLLOWING} {MUTED}"),
    Race([W.follow], W.mute, [W.unfollow], MUTED),
    Race([W.follow], W.unfollow, [W.mute], MUTED),
    Race([W.hide, W.follow], W.mute, [W.approve], f"{FOLLOWING} {MUTED}"),
    Race([W.follow], W.unfollow, [W.unfollow, W.follow], NOTHING),
]


def name(race: Race) -> str:
    """Name a race."""
    steps = "+".join(step.__name__ for step in race.between)
    return f"{race.wanted.__name__}-after-{steps}-to-{race.stands.replace(' ', '-') or 'nothing'}"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=TABLES)
async def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenTable]:
    """Start a table engine, once for all races."""
    async with TABLES[request.param](tmp_path_factory.mktemp(request.param)) as opener:
        yield opener


@pytest.fixture
async def table(tables: OpenTable, tmp_path: Path) -> AsyncIterator[Table]:
    """Open a table."""
    async with tables(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("race", RACES, ids=name)
async def test_what_was_decided_by_still_holds_when_it_is_written(table: Table, race: Race) -> None:
    """A change that another came before is decided anew, so that all rows agree and nothing stands that may not."""
    ids, outbox = IdGenerator(0), Outbox(table, MemoryQueue())
    parts = graph_parts(table, outbox, ids)
    calm = World(parts, *await parts.people("ada", "bob"))
    for step in race.before:
        await step(calm)
    came: list[Step] = []

    async def between() -> None:
        for step in race.between:
            await step(calm)
            came.append(step)

    interrupted = cast("Table", Interrupted(table, between))
    late = World(graph_parts(interrupted, outbox, ids), calm.ada, calm.bob)
    if race.refused:
        with pytest.raises(race.refused):
            await race.wanted(late)
    else:
        await race.wanted(late)
    assert came == race.between
    assert await calm.facts() == set(race.stands.split())


async def test_an_end_by_a_clock_behind_is_the_newest_change(table: Table) -> None:
    """An unfollow that meets an edge made anew by a clock an hour ahead ends it with a larger version still."""
    ids, outbox = IdGenerator(0), Outbox(table, MemoryQueue())
    parts = graph_parts(table, outbox, ids)
    calm = World(parts, *await parts.people("ada", "bob"))
    await calm.follow()
    ahead_ids = IdGenerator(1, lambda: now_ms() + 3_600_000)
    ahead = World(graph_parts(table, outbox, ahead_ids), calm.ada, calm.bob)
    versions = []

    async def come_again() -> None:
        await ahead.unfollow()
        await ahead.follow()
        versions.append((await calm.parts.follows.tie(calm.ada, calm.bob)).version)

    late = World(graph_parts(cast("Table", Interrupted(table, come_again)), outbox, ids), calm.ada, calm.bob)
    await late.unfollow()
    tie = await calm.parts.follows.tie(calm.ada, calm.bob)
    assert not tie.follow_id
    assert tie.version > versions[0] > ids.next()
