"""A feed below its timeline: stretches that are put together once for many pages, and never show what is no longer so."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.timeline.home import Home, fill
from timeline_svc import older
from timeline_svc.redis_store import HOME_CAP, home_key, segment_key

# So short that a walk crosses many of them.
STRETCH = 60
POSTS = HOME_CAP + 5 * STRETCH


@pytest.fixture(autouse=True)
def _short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put together little at a time."""
    monkeypatch.setattr(older, "SEGMENT_ENTRIES", STRETCH)


async def below_the_timeline(home: Home, followees: int = 3) -> tuple[int, list[int], list[int]]:
    """Make a viewer whose feed goes on far below the timeline; give the followees and the ids below its floor, newest first."""
    viewer, authors = home.community(followees)
    ids = fill(home, authors, POSTS)
    await home.page(viewer)
    return viewer, authors, ids[: POSTS - HOME_CAP + 1][::-1]


@pytest.mark.parametrize("size", [1, 2, 20, 59, 60, 61, 100])
async def test_pages_cross_the_stretches(home: Home, size: int) -> None:
    """Pages of any size lead from the timeline through all stretches to the very end, without a gap or a repeat."""
    viewer, _, ids = await below_the_timeline(home)
    assert await home.walk(viewer, size, ids[0]) == ids[1:]


async def test_a_stretch_is_put_together_once(home: Home) -> None:
    """Page after page, by whichever process, is served by few readings of the tables."""
    viewer, _, ids = await below_the_timeline(home)
    other = Home(home.store, home.world, home.users, home.ids)
    home.world.calls.clear()
    shown, last = await home.page(viewer, 5, ids[0])
    while last is not None:
        home, other = other, home
        page, last = await home.page(viewer, 5, last)
        shown += page
    assert shown == ids[1:]
    # Each is begun when half of the one before is read; two processes may do so at once.
    assert home.world.calls["followees"] <= 4 * len(ids) // STRETCH


async def test_readers_at_the_same_place_share_a_stretch(home: Home) -> None:
    """Many pages at once that need the same stretch wait for one."""
    viewer, _, ids = await below_the_timeline(home)
    home.world.calls.clear()
    held = home.world.gate("followees")
    async with asyncio.TaskGroup() as tasks:
        pages = [tasks.create_task(home.page(viewer, 5, ids[0])) for _ in range(20)]
        await held.reached.wait()
        held.open()
    assert [page.result() for page in pages] == [(ids[1:6], ids[5])] * 20
    # Who comes so late that the stretch is done already, but looked for it before, puts it together again.
    assert home.world.calls["followees"] < len(pages) // 4


async def test_a_reader_elsewhere_is_not_given_the_stretch_under_way(home: Home) -> None:
    """Who reads above the stretch that another page waits for gets the right posts."""
    viewer, _, ids = await below_the_timeline(home)
    held = home.world.gate("followees")
    async with asyncio.TaskGroup() as tasks:
        deep = tasks.create_task(home.page(viewer, 5, ids[200]))
        await held.reached.wait()
        high = tasks.create_task(home.page(viewer, 5, ids[0]))
        held.open()
    assert deep.result() == (ids[201:206], ids[205])
    assert high.result() == (ids[1:6], ids[5])


async def test_the_next_stretch_is_put_together_ahead(home: Home) -> None:
    """A page in the lower half of a stretch does not wait for the next one, which is begun all the same, once."""
    viewer, _, ids = await below_the_timeline(home)
    await home.page(viewer, 5, ids[0])
    home.world.calls.clear()
    held = home.world.gate("followees")
    for start in range(STRETCH // 2, STRETCH - 10, 5):
        assert await home.page(viewer, 5, ids[start]) == (ids[start + 1 : start + 6], ids[start + 5])
    async with asyncio.timeout(10):
        await held.reached.wait()
    held.open()
    for start in range(STRETCH - 10, STRETCH + 5, 5):
        assert await home.page(viewer, 5, ids[start]) == (ids[start + 1 : start + 6], ids[start + 5])
    assert home.world.calls["followees"] == 1


async def test_a_stretch_is_begun_near_the_end_of_the_timeline(home: Home) -> None:
    """A walk that comes near the timeline's end finds the first stretch under way when it gets there."""
    viewer, _, _ = await below_the_timeline(home)
    ids = home.world.feed_of(viewer)
    home.world.calls.clear()
    held = home.world.gate("followees")
    before = ids[HOME_CAP - 100]
    assert (await home.page(viewer, 20, before))[0] == ids[HOME_CAP - 99 : HOME_CAP - 79]
    async with asyncio.timeout(10):
        await held.reached.wait()
    held.open()
    assert await home.walk(viewer, 20, before) == ids[HOME_CAP - 99 :]


async def test_a_new_followee_appears_below_the_timeline(home: Home) -> None:
    """Old posts of somebody followed meanwhile are shown though a stretch was kept that lacks them."""
    viewer, authors = home.community(3)
    newcomer = next(home.users)
    fill(home, [*authors, newcomer], POSTS)
    await home.page(viewer)
    ids = home.world.feed_of(viewer)[HOME_CAP:]
    assert await home.page(viewer, 5, ids[0]) == (ids[1:6], ids[5])
    await home.follow(viewer, newcomer)
    below = [post_id for post_id in home.world.feed_of(viewer) if post_id < ids[0]]
    assert home.world.posts[below[0]].user_id == newcomer or newcomer in {home.world.posts[each].user_id for each in below[:10]}
    assert await home.walk(viewer, 5, ids[0]) == below


async def test_who_left_does_not_appear_below_the_timeline(home: Home) -> None:
    """Old posts of somebody unfollowed meanwhile are not shown though a stretch was kept that has them; pages are full."""
    viewer, authors, ids = await below_the_timeline(home)
    assert await home.page(viewer, 5, ids[0]) == (ids[1:6], ids[5])
    kept = (await home.store.read_home(viewer, None)).segment
    assert kept is not None
    assert authors[0] in kept.author_ids
    await home.unfollow(viewer, authors[0])
    assert await home.walk(viewer, 5, ids[0]) == [post_id for post_id in home.world.feed_of(viewer) if post_id < ids[0]]


@pytest.mark.parametrize("gate", ["followees", "by_authors"])
async def test_who_leaves_while_a_stretch_is_put_together(home: Home, gate: str) -> None:
    """A stretch that is put together while an author leaves does not bring the author to later pages."""
    viewer, authors, ids = await below_the_timeline(home)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.page(viewer, 5, ids[0]))
        await held.reached.wait()
        await home.unfollow(viewer, authors[0])
        held.open()
    assert await home.walk(viewer, 5, ids[0]) == [post_id for post_id in home.world.feed_of(viewer) if post_id < ids[0]]


@pytest.mark.parametrize("gate", ["followees", "by_authors"])
async def test_who_comes_while_a_stretch_is_put_together(home: Home, gate: str) -> None:
    """A stretch that was begun before an author came is not used by later pages."""
    viewer, authors = home.community(3)
    newcomer = next(home.users)
    fill(home, [*authors, newcomer], POSTS)
    await home.page(viewer)
    below = home.world.feed_of(viewer)[HOME_CAP]
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.page(viewer, 5, below))
        await held.reached.wait()
        following = tasks.create_task(home.follow(viewer, newcomer))
        while home.world.calls["is_followee"] == 0:  # noqa: ASYNC110  # it may wait for the gate itself later
            await asyncio.sleep(0)
        held.open()
    assert following.done()
    assert await home.walk(viewer, 5, below) == [post_id for post_id in home.world.feed_of(viewer) if post_id < below]


async def test_walking_below_the_timeline_while_posts_come_and_go(home: Home) -> None:
    """Posts that arrive shift nothing, and deleted ones leave no short page, below the timeline either."""
    viewer, authors, ids = await below_the_timeline(home)
    shown: list[int] = []
    gone: set[int] = set()
    last: int | None = ids[0]
    while last is not None:
        await home.publish(authors[0])
        if ahead := [post_id for post_id in ids if post_id < last and post_id not in gone][5:7]:
            gone.update(ahead)
            for post_id in ahead:
                home.delete(post_id)
        page, last = await home.page(viewer, 10, last)
        assert len(page) == 10 or last is None
        shown += page
    assert shown == [post_id for post_id in ids[1:] if post_id not in gone]


@pytest.mark.parametrize("lost", ["timeline", "stretch"])
async def test_a_loss_during_a_walk(home: Home, redis: Redis, lost: str) -> None:
    """When the timeline or the stretch is lost between pages, the walk goes on as if nothing had been."""
    viewer, _, ids = await below_the_timeline(home)
    shown: list[int] = []
    last: int | None = ids[0]
    while last is not None:
        page, last = await home.page(viewer, 20, last)
        shown += page
        await redis.delete(home_key(viewer) if lost == "timeline" else segment_key(viewer))
    assert shown == ids[1:]


@pytest.mark.parametrize("need", [999, 1_000, 1_001, 2_000, 2_500, 3_200, 3_300])
async def test_long_stretches_of_one_author_are_read_in_parts(home: Home, need: int) -> None:
    """More posts of an author than one call may bring are read to the last that is needed, or to the very end."""
    _, (author, quiet) = home.community(2)
    ids = [home.commit(quiet), *(home.commit(author) for _ in range(3_199))][::-1]
    found = await home.puller.newest([author, quiet], before=None, need=need)
    assert [entry.post_id for entry in found] == ids[:need]
    found = await home.puller.newest([author, quiet], before=ids[100], need=need)
    assert [entry.post_id for entry in found] == ids[101 : 101 + need]
