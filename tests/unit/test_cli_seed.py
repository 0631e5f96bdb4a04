"""Seeding: everything once, whatever breaks in between."""

import asyncio
import random
from pathlib import Path

import pytest

from cli.client import Client
from cli.community import Plan, generated
from cli.journal import Journal, read
from cli.seed import SeedError, Summary, seed
from cli.transport import Patience, UnansweredError
from cli.verify import Result, verify
from tests.unit.cli_fake_mesh import FakeMesh, Fault, every, mint
from tests.unit.cli_quiet_reporter import QuietReporter

PATIENT = Patience(try_s=5, call_s=20, first_pause_s=0.001, longest_pause_s=0.01)
PLAN = generated(users=12, follows_per_user=3, posts=40)
DAY_S = 24 * 3600
NOW_S = 2_000_000_000


async def _seed(url: str, path: Path, plan: Plan = PLAN, *, now_s: int = NOW_S, patience: Patience = PATIENT) -> Summary:
    with Journal.open(path) as journal:
        async with Client.connect(url, connections=8, patience=patience) as client:
            return await seed(client, mint, plan, journal, concurrency=8, report=QuietReporter(), now_s=lambda: now_s)


async def _verify(url: str, path: Path) -> Result:
    async with Client.connect(url, connections=8, patience=PATIENT) as client:
        return await verify(client, mint, read(path), concurrency=8, settle_s=0, report=QuietReporter())


def _assert_is_plan(mesh: FakeMesh, plan: Plan = PLAN) -> None:
    number = {username: user for user, username in enumerate(plan.usernames)}
    by_id = {user_id: number[username] for user_id, username in mesh.users.items()}
    assert sorted(mesh.users.values()) == sorted(plan.usernames)
    assert {(by_id[follower], by_id[followee]) for follower, followee in mesh.follows} == set(plan.follows)
    posted = sorted((by_id[int(post["user_id"])], post["content"]) for post in mesh.posts.values())
    assert posted == sorted((author, plan.content(post)) for post, author in enumerate(plan.authors))


async def test_a_seed_makes_the_plan(tmp_path: Path) -> None:
    """Users, follows and posts of the plan exist once; everybody's feed was read before the first post; no call was wasted."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    order: list[str] = []
    mesh.fault = lambda request: order.append(request.path)
    async with mesh.serve() as url:
        summary = await _seed(url, path)
        _assert_is_plan(mesh)
        assert (summary.users, summary.follows, summary.posts) == (12, len(PLAN.follows), 40)
        assert max(i for i, call in enumerate(order) if call == "/v1/feed") < min(
            order.index("/v1/follows"), order.index("/v1/posts")
        )
        assert mesh.calls.total() == 12 + 12 + len(PLAN.follows) + 40
        assert not (await _verify(url, path)).differences


async def test_a_finished_seed_does_nothing_again(tmp_path: Path) -> None:
    """The same seed, run again, only checks that the mesh is the one of the journal."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    async with mesh.serve() as url:
        await _seed(url, path)
        mesh.calls.clear()
        summary = await _seed(url, path)
    assert (summary.users, summary.follows, summary.posts, mesh.calls.total()) == (0, 0, 0, 1)


async def test_faults_neither_lose_nor_repeat_anything(tmp_path: Path) -> None:
    """With every third request failing in turn in each way, all is made once."""
    mesh = FakeMesh(fault=every(3, *Fault))
    async with mesh.serve() as url:
        await _seed(url, tmp_path / "journal.jsonl")
    _assert_is_plan(mesh)


@pytest.mark.parametrize("after", [1, 9, 20, 37, 75])
async def test_an_interrupted_seed_goes_on(tmp_path: Path, after: int) -> None:
    """A seed cancelled in the middle of its calls, as Ctrl-C does it, makes the rest when run again, and nothing twice."""
    mesh, path, reached = FakeMesh(), tmp_path / "journal.jsonl", asyncio.Event()

    def lose_answers_from_then_on(_: object) -> Fault | None:
        if mesh.calls.total() >= after:
            reached.set()
            return Fault.LOST_ANSWER
        return None

    async with mesh.serve() as url:
        mesh.fault = lose_answers_from_then_on
        running = asyncio.create_task(_seed(url, path))
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        mesh.fault = lambda _: None
        await _seed(url, path)
        _assert_is_plan(mesh)
        assert not (await _verify(url, path)).differences


@pytest.mark.parametrize("chance", range(8))
async def test_a_journal_cut_by_a_kill_goes_on(tmp_path: Path, chance: int) -> None:
    """With a journal cut at any byte, the next run asks for what is in doubt under the same request ids: nothing is made twice."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    async with mesh.serve() as url:
        await _seed(url, path)
        content = path.read_bytes()
        path.write_bytes(content[: random.Random(chance).randrange(len(content))])  # noqa: S311  # any byte will do
        await _seed(url, path)
        _assert_is_plan(mesh)
        assert not (await _verify(url, path)).differences


async def test_a_gateway_that_stays_away_ends_the_seed(tmp_path: Path) -> None:
    """When patience ends the seed fails with the reason, and the journal still lets the next run finish."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    mesh.fault = lambda request: Fault.LOST_ANSWER if request.path == "/v1/posts" else None
    hasty = Patience(try_s=5, call_s=0.02, first_pause_s=0.001, longest_pause_s=0.01)
    async with mesh.serve() as url:
        with pytest.raises(UnansweredError):
            await _seed(url, path, patience=hasty)
        assert len(read(path).asked_posts) > len(read(path).post_ids)
        mesh.fault = lambda _: None
        await _seed(url, path)
    _assert_is_plan(mesh)


async def test_what_is_in_doubt_for_a_day_stays_so(tmp_path: Path) -> None:
    """A post that was asked for over 23 hours ago is not asked for again: the mesh may have forgotten the request id."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    async with mesh.serve() as url:
        await _seed(url, path)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if not line.startswith(b'["p",7,')))
        mesh.answered.clear()
        mesh.calls.clear()
        summary = await _seed(url, path, now_s=NOW_S + DAY_S)
        assert (summary.posts, summary.posts_in_doubt, mesh.calls["POST /v1/posts"]) == (0, 1, 0)
        result = await _verify(url, path)
    assert (result.differences, result.posts_found) == ([], 1)


async def test_another_plan_is_refused(tmp_path: Path) -> None:
    """A journal of one community is not mixed with another."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    async with mesh.serve() as url:
        await _seed(url, path)
        with pytest.raises(SeedError, match="another community"):
            await _seed(url, path, generated(users=13, follows_per_user=3, posts=40))


async def test_another_mesh_is_noticed(tmp_path: Path) -> None:
    """A journal whose users are not in the mesh, or are others there, is refused before anything is written."""
    mesh, path = FakeMesh(), tmp_path / "journal.jsonl"
    async with mesh.serve() as url:
        await _seed(url, path)
        users = dict(mesh.users)
        for changed in ({}, dict.fromkeys(users, "somebody_else")):
            mesh.users = changed
            with pytest.raises(SeedError, match="another mesh"):
                await _seed(url, path)


async def test_a_taken_username_says_what_to_do(tmp_path: Path) -> None:
    """Seeding a mesh that has such users already asks for a prefix; with one, both communities live there."""
    mesh = FakeMesh()
    other = generated(users=12, follows_per_user=3, posts=5, seed=2)
    prefixed = generated(users=12, follows_per_user=3, posts=5, seed=2, prefix="b_")
    async with mesh.serve() as url:
        await _seed(url, tmp_path / "a.jsonl")
        with pytest.raises(SeedError, match="--prefix"):
            await _seed(url, tmp_path / "b.jsonl", other)
        await _seed(url, tmp_path / "c.jsonl", prefixed)
        for journal in ("a.jsonl", "c.jsonl"):
            assert not (await _verify(url, tmp_path / journal)).differences
    assert len(mesh.users) == 24


async def test_a_lost_journal_is_made_again_within_a_day(tmp_path: Path) -> None:
    """The same seed without its journal gets the first answers again, and makes nothing twice."""
    mesh = FakeMesh()
    async with mesh.serve() as url:
        await _seed(url, tmp_path / "a.jsonl")
        await _seed(url, tmp_path / "b.jsonl")
        assert not (await _verify(url, tmp_path / "b.jsonl")).differences
    _assert_is_plan(mesh)
