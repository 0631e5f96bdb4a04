"""Paging through a home feed over the real store: complete, in order, whatever happens meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.timeline.home import Home, World, fill, push_all
from timeline_svc.redis_store import HOME_CAP, RedisTimelineStore, open_redis


@pytest.mark.parametrize("pushed", [False, True], ids=["rebuilt", "pushed"])
@pytest.mark.parametrize("size", [7, 20, 64, 99, 100])
async def test_paging_goes_on_below_what_is_cached(home: Home, size: int, pushed: bool) -> None:  # noqa: FBT001
    """Every post is shown once, in order, far beyond the timeline and authors' recent posts; no page is short before the end."""
    viewer, authors = home.community(5)
    ids = fill(home, authors)
    ids += [home.commit(viewer)]
    if pushed:
        await push_all(home, viewer, ids)
    assert await home.walk(viewer, size) == ids[::-1]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_small_pages_cross_the_floor(home: Home, size: int) -> None:
    """Small pages lead over the end of the cached window, and over the end of everything, without a gap or a repeat."""
    viewer, authors = home.community(3)
    ids = fill(home, authors, HOME_CAP + 40)
    await home.page(viewer)
    start = 60
    assert await home.walk(viewer, size, ids[start]) == ids[start - 1 :: -1]


async def test_exactly_as_many_posts_as_fit(home: Home) -> None:
    """With exactly as many posts as a timeline holds, and one more or less, the last page is the end."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, HOME_CAP - 1)
    for _ in range(3):
        assert await home.walk(viewer) == ids[::-1]
        ids.append(await home.publish(authors[0]))


@pytest.mark.parametrize("size", [20, 100])
async def test_holes_do_not_make_pages_short(home: Home, size: int) -> None:
    """Where most posts are deleted, in the timeline and below it, pages are full all the same."""
    viewer, authors = home.community(4)
    ids = fill(home, authors)
    await push_all(home, viewer, ids)
    kept = [post_id for number, post_id in enumerate(ids) if number % 5 == 0]
    for post_id in set(ids).difference(kept):
        home.delete(post_id)
    assert await home.walk(viewer, size) == kept[::-1]


async def test_paging_while_posts_come_and_go(home: Home) -> None:
    """Posts that arrive during a walk shift nothing; posts that are deleted ahead of it are not shown; all others once."""
    viewer, authors = home.community(4)
    ids = fill(home, authors)
    shown, last = await home.page(viewer, 50)
    gone = set()
    while last is not None:
        for author in authors[:3]:
            await home.publish(author)
        ahead = [post_id for post_id in ids if post_id < last and post_id not in gone]
        if ahead:
            gone.add(ahead[-3:][0])
            home.delete(ahead[-3:][0])
        page, last = await home.page(viewer, 50, last)
        assert len(page) == 50 or last is None
        shown += page
    assert shown == [post_id for post_id in reversed(ids) if post_id not in gone]


async def test_nothing_at_all(home: Home) -> None:
    """Who follows nobody and wrote nothing has an empty feed, and an empty timeline that takes pushes."""
    viewer, _ = home.community(0)
    assert await home.page(viewer) == ([], None)
    post_id = await home.publish(viewer)
    assert await home.page(viewer) == ([post_id], None)


async def test_without_the_store_the_feed_is_complete(home: Home, tmp_path: Path) -> None:
    """Where no timelines are to be had, the tables give the same feed, to the end."""
    viewer, authors = home.community(4)
    ids = fill(home, authors)
    async with open_redis(f"unix://{tmp_path}/nobody") as nobody:
        away = Home(nobody, home.world, home.users)
        assert await away.walk(viewer) == ids[::-1]


async def test_many_followees_are_pulled_in_parts(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """A viewer of more than a thousand authors gets the newest of all of them."""
    home = Home(store, World(), users)
    viewer, authors = home.community(1_100)
    ids = [home.commit(author) for author in authors]
    assert await home.walk(viewer) == ids[::-1]
