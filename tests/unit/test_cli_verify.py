"""Verifying: a right mesh passes, and every kind of wrong one is caught."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web

from cli.client import Client
from cli.community import generated
from cli.feeds import Kind
from cli.journal import Facts, Journal, read
from cli.seed import seed
from cli.transport import Patience, UnansweredError
from cli.verify import Result, verify
from tests.unit.cli_fake_mesh import FakeMesh, Fault, Json, every, mint
from tests.unit.cli_quiet_reporter import QuietReporter

PATIENT = Patience(try_s=5, call_s=20, first_pause_s=0.001, longest_pause_s=0.01)
PAGE_SIZE = 5
PLAN = generated(users=9, follows_per_user=3, posts=60)
Tamper = Callable[[list[Json]], list[Json]]


@asynccontextmanager
async def _seeded(path: Path) -> AsyncIterator[tuple[FakeMesh, str]]:
    mesh = FakeMesh()
    async with mesh.serve() as url:
        with Journal.open(path) as journal:
            async with Client.connect(url, connections=4, patience=PATIENT) as client:
                await seed(client, mint, PLAN, journal, concurrency=4, report=QuietReporter())
        yield mesh, url


async def _verify(url: str, facts: Facts, *, settle_s: float = 0, patience: Patience = PATIENT) -> Result:
    async with Client.connect(url, connections=4, patience=patience) as client:
        return await verify(client, mint, facts, concurrency=4, settle_s=settle_s, report=QuietReporter(), page_size=PAGE_SIZE)


def _victim(mesh: FakeMesh) -> int:
    """Give a user with several pages in the feed, who does not follow everybody."""
    return next(
        user_id
        for user_id in mesh.users
        if len(mesh.feed_of(user_id)) > 3 * PAGE_SIZE
        and sum(follower == user_id for follower, _ in mesh.follows) < len(mesh.users) - 1
    )


def _changed(items: list[Json], index: int, **fields: str) -> list[Json]:
    return [*items[:index], {"post": items[index]["post"] | fields}, *items[index + 1 :]]


async def test_a_right_mesh_has_no_differences(tmp_path: Path) -> None:
    """Every user's feed is read to its end, page by page, and agrees."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        result = await _verify(url, read(path))
        sizes = [len(mesh.feed_of(user_id)) for user_id in mesh.users]
    assert result.differences == []
    assert (result.users, result.items, result.late_users) == (9, sum(sizes), 0)
    assert result.pages == sum(max(1, -(-size // PAGE_SIZE)) for size in sizes)


async def test_faults_of_the_way_are_no_differences(tmp_path: Path) -> None:
    """Broken connections, 503 and 429 in between are waited out."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        mesh.fault = every(3, *Fault)
        assert (await _verify(url, read(path))).differences == []


@pytest.mark.parametrize(
    ("tamper", "kinds"),
    [
        (lambda items: items[1:], {Kind.MISSING}),
        (lambda items: items[:-1], {Kind.MISSING}),
        (lambda items: items[:7] + items[8:], {Kind.MISSING}),
        (lambda items: items[:0], {Kind.MISSING}),
        (lambda items: [items[0], *items], {Kind.TWICE}),
        (lambda items: [*items, items[2]], {Kind.TWICE, Kind.OUT_OF_ORDER}),
        (lambda items: [items[1], items[0], *items[2:]], {Kind.OUT_OF_ORDER}),
        (lambda items: items[::-1], {Kind.OUT_OF_ORDER}),
        (lambda items: _changed(items, 4, content="something else"), {Kind.CONTENT}),
        (lambda items: _changed(items, 4, content=items[4]["post"]["content"] + " "), {Kind.CONTENT}),
        (lambda items: _changed(items, 4, user_id="77"), {Kind.AUTHOR}),
        (lambda items: [_made_up(items[0]), *items], {Kind.UNEXPECTED}),
        (lambda items: _changed(items, 0, post_id=str(2**64 - 1)), {Kind.MISSING, Kind.TWICE}),
        (lambda items: _changed(items, 0, post_id="x"), {Kind.UNREADABLE}),
        (lambda items: items * 80, {Kind.TWICE, Kind.OUT_OF_ORDER, Kind.ENDLESS}),
    ],
)
async def test_a_wrong_feed_is_caught(tmp_path: Path, tamper: Tamper, kinds: set[Kind]) -> None:
    """Each way to falsify one user's feed is found, as what it is, and only for that user."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        victim = _victim(mesh)
        mesh.tamper = lambda user_id, items: tamper(items) if user_id == victim else items
        result = await _verify(url, read(path))
    assert {difference.kind for difference in result.differences} == kinds
    assert {(difference.user_id, difference.username) for difference in result.differences} == {(victim, mesh.users[victim])}


def _made_up(item: Json) -> Json:
    return {"post": item["post"] | {"post_id": str(2**64 - 1), "content": "nobody wrote this"}}


async def test_a_leak_is_caught(tmp_path: Path) -> None:
    """A true post in the feed of somebody who does not follow its author is unexpected, even when other feeds may show it."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        victim = _victim(mesh)
        shown = {item["post"]["post_id"] for item in mesh.feed_of(victim)}
        leaked = next(post for post in mesh.posts.values() if post["post_id"] not in shown)

        def leak(user_id: int, items: list[Json]) -> list[Json]:
            added = [*items, {"post": leaked}] if user_id == victim else items
            return sorted(added, key=lambda item: -int(item["post"]["post_id"]))

        mesh.tamper = leak
        result = await _verify(url, read(path))
    (difference,) = result.differences
    assert (difference.kind, difference.user_id, difference.post_id) == (Kind.UNEXPECTED, victim, int(leaked["post_id"]))


@pytest.mark.parametrize(
    ("tamper", "kinds"),
    [
        (lambda number, page: page | {"items": page["items"][:-1]} if number == 0 else page, {Kind.SHORT_PAGE, Kind.MISSING}),
        (lambda number, page: page | {"items": []} if number == 1 else page, {Kind.EMPTY_PAGE, Kind.MISSING}),
        (
            lambda _, page: page | {"next_page_token": page["next_page_token"] or "+/=1000"},
            {Kind.EMPTY_PAGE, Kind.SHORT_PAGE, Kind.ENDLESS},
        ),
        (
            lambda number, page: page | {"next_page_token": "+/=5"} if number == 1 else page,
            {Kind.ENDLESS, Kind.MISSING},
        ),
        (lambda _, page: page | {"next_page_token": ""}, {Kind.MISSING}),
        (lambda _, page: page | {"items": page["items"] * 2}, {Kind.LONG_PAGE, Kind.TWICE, Kind.OUT_OF_ORDER}),
    ],
)
async def test_wrong_paging_is_caught(tmp_path: Path, tamper: Callable[[int, Json], Json], kinds: set[Kind]) -> None:
    """Pages that are short, empty, too long, end too early or never are found, although every feed behind them is right."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        mesh.tamper_page = tamper
        result = await _verify(url, read(path))
    assert {difference.kind for difference in result.differences} == kinds


async def test_empty_pages_without_end_are_caught(tmp_path: Path) -> None:
    """A feed that answers with nothing and always a new token is given up as endless."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        tokens = count(1_000)
        mesh.tamper_page = lambda _, page: page | {"items": [], "next_page_token": f"+/={next(tokens)}"}
        result = await _verify(url, read(path))
    assert {difference.user_id for difference in result.differences if difference.kind is Kind.ENDLESS} == set(mesh.users)


async def test_a_post_lost_by_the_mesh_is_missing_from_every_feed(tmp_path: Path) -> None:
    """An acknowledged post that is gone is missing for its author and for each follower."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        lost = mesh.posts.pop(next(iter(mesh.posts)))
        result = await _verify(url, read(path))
    author = int(lost["user_id"])
    assert {difference.kind for difference in result.differences} == {Kind.MISSING}
    audience = {author} | {follower for follower, followee in mesh.follows if followee == author}
    assert {difference.user_id for difference in result.differences} == audience


async def test_a_post_made_twice_is_caught(tmp_path: Path) -> None:
    """A second post with the same text is told as the same post made twice, to everybody who sees it."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        first = next(iter(mesh.posts.values()))
        mesh.posts[2**63] = first | {"post_id": str(2**63)}
        result = await _verify(url, read(path))
    assert {(difference.kind, difference.post_id) for difference in result.differences} == {(Kind.TWICE, 2**63)}


async def test_a_lost_follow_is_caught(tmp_path: Path) -> None:
    """An acknowledged follow that has no effect shows as the followee's posts missing."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        writers = {int(post["user_id"]) for post in mesh.posts.values()}
        follower, followee = next(edge for edge in mesh.follows if edge[1] in writers)
        mesh.follows.remove((follower, followee))
        result = await _verify(url, read(path))
    assert {(difference.kind, difference.user_id) for difference in result.differences} == {(Kind.MISSING, follower)}


async def test_late_posts_settle(tmp_path: Path) -> None:
    """A feed from which a post is missing at first, and not later, is no difference; the result tells how many and how long."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        victim = _victim(mesh)
        late = iter(range(12))
        mesh.tamper = lambda user_id, items: items[1:] if user_id == victim and next(late, None) is not None else items
        result = await _verify(url, read(path), settle_s=30)
    assert (result.differences, result.late_users) == ([], 1)
    assert 0 < result.settled_s <= result.seconds


async def test_what_never_settles_is_a_difference(tmp_path: Path) -> None:
    """When the time is over, what is still missing is told."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        victim = _victim(mesh)
        mesh.tamper = lambda user_id, items: items[1:] if user_id == victim else items
        result = await _verify(url, read(path), settle_s=0.05)
    assert [difference.kind for difference in result.differences] == [Kind.MISSING]
    assert result.late_users == 0


async def test_a_duplicate_that_vanishes_is_still_told(tmp_path: Path) -> None:
    """What should never have been shown is a difference even when a later reading is right."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        victim = _victim(mesh)
        readings = 0

        def first_wrong(user_id: int, items: list[Json]) -> list[Json]:
            nonlocal readings
            if user_id != victim:
                return items
            readings += 1
            return [items[0], *items[:-1]] if readings <= len(items) // PAGE_SIZE + 1 else items

        mesh.tamper = first_wrong
        result = await _verify(url, read(path), settle_s=30)
    assert [difference.kind for difference in result.differences] == [Kind.TWICE]


async def test_posts_in_doubt_are_for_all_or_nobody(tmp_path: Path) -> None:
    """A post without an answer may exist or not; when one feed shows it, every feed that should must, and under the same id."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        facts = read(path)
        followed = next(followee for _, followee in mesh.follows if any(int(p["user_id"]) == followee for p in mesh.posts.values()))
        number, post_id = next((n, i) for n, i in facts.post_ids.items() if int(mesh.posts[i]["user_id"]) == followed)
        del facts.post_ids[number]
        found = await _verify(url, facts)
        mesh.tamper = lambda user_id, items: items if user_id == followed else _without(items, post_id)
        partly = await _verify(url, facts)
        mesh.tamper = lambda _, items: _without(items, post_id)
        nowhere = await _verify(url, facts)
        mesh.tamper = lambda user_id, items: items if user_id == followed else _renumbered(items, post_id)
        two_ids = await _verify(url, facts)
    assert (found.differences, found.posts_found) == ([], 1)
    assert (nowhere.differences, nowhere.posts_found) == ([], 0)
    followers = {follower for follower, followee in mesh.follows if followee == followed}
    assert {(difference.kind, difference.user_id) for difference in partly.differences} == {
        (Kind.MISSING, user) for user in followers
    }
    assert Kind.TWICE in {difference.kind for difference in two_ids.differences}


def _without(items: list[Json], post_id: int) -> list[Json]:
    return [item for item in items if item["post"]["post_id"] != str(post_id)]


def _renumbered(items: list[Json], post_id: int) -> list[Json]:
    index = next((i for i, item in enumerate(items) if item["post"]["post_id"] == str(post_id)), None)
    if index is None:
        return items
    return [_changed(items, index, post_id=str(2**63))[index], *_without(items, post_id)]


async def test_follows_in_doubt_are_for_all_posts_or_none(tmp_path: Path) -> None:
    """A follow without an answer may have taken effect or not; when it shows one of the followee's posts, it must show all."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        facts = read(path)
        counts = {
            user: sum(int(post["user_id"]) == facts.user_ids[user] for post in mesh.posts.values()) for user in facts.user_ids
        }
        edge = next(edge for edge in facts.follows if counts[edge[1]] > 1)
        follower_id, followee_id = facts.user_ids[edge[0]], facts.user_ids[edge[1]]
        facts.follows.remove(edge)
        shown = await _verify(url, facts)
        newest = max(post_id for post_id, post in mesh.posts.items() if int(post["user_id"]) == followee_id)
        mesh.tamper = lambda user_id, items: _without(items, newest) if user_id == follower_id else items
        partly = await _verify(url, facts)
        mesh.follows.remove((follower_id, followee_id))
        hidden = await _verify(url, facts)
    assert (shown.differences, hidden.differences) == ([], [])
    assert [(d.kind, d.user_id, d.post_id) for d in partly.differences] == [(Kind.MISSING, follower_id, newest)]


async def test_a_refused_feed_is_a_difference(tmp_path: Path) -> None:
    """A feed that answers with an error is told as unreadable, and the others are still compared."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        facts = read(path)
        victim = _victim(mesh)

        def refuse(user_id: int, items: list[Json]) -> list[Json]:
            if user_id == victim:
                raise web.HTTPInternalServerError(text="{}")
            return items

        mesh.tamper = refuse
        result = await _verify(url, facts)
    assert [(difference.kind, difference.user_id) for difference in result.differences] == [(Kind.UNREADABLE, victim)]


async def test_a_mesh_that_stays_away_is_no_verdict(tmp_path: Path) -> None:
    """When nothing answers, verifying fails instead of calling every feed wrong."""
    path = tmp_path / "journal.jsonl"
    async with _seeded(path) as (mesh, url):
        mesh.fault = every(1, Fault.UNAVAILABLE)
        with pytest.raises(UnansweredError):
            await _verify(url, read(path), patience=replace(PATIENT, call_s=0.02))
