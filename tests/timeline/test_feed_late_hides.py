"""Hides and marks of before, that arrive while a timeline is made, or a change is applied."""

import asyncio
import time

import pytest
from redis.asyncio import Redis, RedisCluster

from meshkit.clock import now_ms
from tests.timeline.home import Home
from tests.timeline.turning import Turning
from timeline_svc import pulled
from timeline_svc.redis_store import home_key, sources_key

HOUR_MS = 3_600_000


def another(home: Home) -> Home:
    """Give another process over the same store and world: it has nothing in memory."""
    return Home(home.store, home.world, home.users)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no process keep pulled authors' posts."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)


async def back_again(home: Home, viewer: int, author: int) -> int:
    """Let a viewer leave an author, which is told to nobody, and follow again; give the version of the leaving."""
    gone = home.ids.next()
    home.world.left_at[viewer][author] = await home.follow(viewer, author)
    return gone


@pytest.mark.parametrize("held", ["by_authors", "followees"])
async def test_a_late_hide_takes_no_post_out_of_a_timeline_that_is_made(home: Home, held: str) -> None:
    """A hide of before its author came back takes away nothing that was pushed into the timeline while it is made."""
    viewer, authors = home.community(1)
    gone = await back_again(home, viewer, authors[0])
    gate = home.world.gate(held)
    read = asyncio.create_task(another(home).page(viewer))
    await gate.reached.wait()
    post = await home.publish(authors[0])
    await home.changes.hide(viewer, authors[0], gone)
    gate.open()
    await read
    assert await another(home).walk(viewer) == [post]


async def test_a_late_hide_and_a_backfill_take_no_post_out_of_a_timeline_that_is_made(home: Home) -> None:
    """Nor does the backfill of a third author, which comes after such a hide."""
    viewer, authors = home.community(2)
    gone = await back_again(home, viewer, authors[0])
    gate = home.world.gate("by_authors")
    read = asyncio.create_task(another(home).page(viewer))
    await gate.reached.wait()
    post = await home.publish(authors[0])
    await home.changes.hide(viewer, authors[0], gone)
    other = home.commit(authors[1])
    await home.follow(viewer, authors[1])
    gate.open()
    await read
    assert await another(home).walk(viewer) == [other, post]


@pytest.mark.usefixtures("fresh")
async def test_a_late_hide_takes_no_mark_away(turning: Turning) -> None:
    """A turn's mark that came before a late hide holds when the author is back, though the change that says so knows no turn."""
    home = turning.home
    viewer, authors = home.community(1)
    await home.page(viewer)
    gone, version = home.ids.next(), home.ids.next()
    home.world.left_at[viewer][authors[0]] = version
    gate = home.world.gate("turned")
    came = asyncio.create_task(home.changes.apply(viewer, authors[0], version, came=True))
    await gate.reached.wait()
    await turning.pull(authors[0])
    await home.changes.hide(viewer, authors[0], gone)
    gate.open()
    await came
    post = await turning.publish(authors[0])
    assert await another(home).walk(viewer) == [post]


@pytest.mark.usefixtures("fresh")
async def test_a_rebuild_takes_no_mark_away(turning: Turning, redis: Redis | RedisCluster) -> None:
    """Nor does a rebuild that was told that the author had left."""
    home = turning.home
    viewer, authors = home.community(1)
    await home.page(viewer)
    await home.unfollow(viewer, authors[0])
    await redis.unlink(home_key(viewer), sources_key(viewer))
    first, edges = home.world.gate("followees"), home.world.gate("followees")
    first.open()  # who left is known only after it
    read = asyncio.create_task(another(home).page(viewer))
    await edges.reached.wait()
    home.world.edges[viewer].add(authors[0])
    version = home.world.left_at[viewer][authors[0]] = home.ids.next()
    asked = home.world.gate("turned")
    came = asyncio.create_task(home.changes.apply(viewer, authors[0], version, came=True))
    await asked.reached.wait()
    await turning.pull(authors[0])
    edges.open()
    await read
    asked.open()
    await came
    post = await turning.publish(authors[0])
    assert await another(home).walk(viewer) == [post]


async def test_a_rebuild_that_was_left_long_ago_keeps_no_post(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came late into a timeline whose making was given up hours ago is not shown by who makes it then."""
    viewer, authors = home.community(2)
    late = home.commit(authors[0])
    home.world.edges[viewer].discard(authors[0])
    await _given_up(home, viewer, monkeypatch)
    await home.delivery.push(home.entry(late), [viewer])
    assert await home.walk(viewer) == home.world.feed_of(viewer) == []


async def test_a_rebuild_that_was_left_long_ago_keeps_no_mark(turning: Turning, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the mark of an author heeded that came late into it."""
    home = turning.home
    viewer, authors = home.community(2)
    job = turning.to_pull(authors[0])
    await anext(job)
    home.world.edges[viewer].discard(authors[0])
    await _given_up(home, viewer, monkeypatch)
    async for _ in job:
        pass
    home.commit(authors[0])
    assert await home.walk(viewer) == home.world.feed_of(viewer) == []


async def _given_up(home: Home, viewer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a timeline be begun three hours ago, and never made ready."""
    with monkeypatch.context() as past:
        past.setattr("timeline_svc.redis_store.now_ms", lambda: now_ms() - 3 * HOUR_MS)
        await home.store.begin_home(viewer)


async def test_thousands_of_pulled_authors_hold_up_nobody(home: Home) -> None:
    """Marking ten thousand authors in one timeline takes the server no longer than a small part of a second."""
    viewer = next(home.users)
    generation = await home.store.begin_home(viewer)
    began = time.monotonic()
    marks = {(1 << 40) + number: 1 for number in range(10_000)}
    assert await home.store.complete_home(viewer, generation, [], 0, marks=marks, left={})
    # It took 7 s when each mark was searched for.
    assert time.monotonic() - began < 1
    assert (await home.store.read_home(viewer, None)).sources.marks == marks
