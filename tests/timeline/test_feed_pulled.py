"""Authors whose posts are pulled: they are merged into the feed at every depth, and whoever turns meanwhile loses no post."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis.asyncio import Redis

from tests.timeline.home import Home, World, complete
from tests.timeline.servers import patient_store, until
from tests.timeline.turning import Turning
from tests.timeline.wire import wire_to
from timeline_svc import pulled, redis_store
from timeline_svc.redis_store import AUTHOR_CAP, author_key, home_key, sources_key

# More than are among an author's recent ones.
PROLIFIC = AUTHOR_CAP + 10


async def celebrities(turning: Turning, number: int, posts: int, *, uneven: bool = True) -> tuple[int, list[int]]:
    """Make a viewer, whose timeline exists, of so many pulled authors with at least so many posts each, and of one who is pushed.

    Unevenly, some post two or three times as often, so that their recent posts do not go as far down. Gives the feed's post ids,
    newest first.
    """
    home = turning.home
    viewer, (friend, *famous) = home.community(number + 1)
    await complete(home.store, viewer, [], 0)
    for author in famous:
        await turning.pull(author)
    for turn in range(posts):
        for place, author in enumerate(famous):
            for _ in range(1 + place % 3 * uneven):
                turning.commit(author)
        if turn % 10 == 9:
            await turning.publish(friend)
    return viewer, home.world.feed_of(viewer)


@pytest.mark.parametrize(("number", "size"), [(1, 2), (1, 20), (20, 20), (25, 20), (25, 100)])
async def test_paging_through_prolific_pulled_authors(turning: Turning, number: int, size: int) -> None:
    """Every post of few or many pulled authors is shown once, in order, to the very first, far below their recent ones."""
    viewer, ids = await celebrities(turning, number, PROLIFIC)
    assert len(ids) > number * PROLIFIC
    assert await turning.home.walk(viewer, size) == ids


@pytest.mark.parametrize("size", [1, 2, 20, 100])
@pytest.mark.parametrize(("number", "uneven"), [(1, True), (20, True), (25, True), (25, False)])
async def test_pages_cross_the_end_of_recent_posts(turning: Turning, number: int, size: int, *, uneven: bool) -> None:
    """From each author's recent posts to the tables, and at the very end, pages of any size leave no gap and repeat nothing."""
    viewer, ids = await celebrities(turning, number, PROLIFIC, uneven=uneven)
    edges = [ids.index(turning.home.world.by_author[author][-AUTHOR_CAP]) for author in turning.home.world.turns]
    starts = {edge + step for edge in [*sorted(edges)[:3], max(edges)] for step in (-size, -2, -1, 0, 1)}
    for start in (*sorted(starts), *range(len(ids) - 4, len(ids))):
        page, last = await turning.home.page(viewer, size, ids[start])
        assert page == ids[start + 1 : start + 1 + size]
        assert last == (page[-1] if start + 1 + size < len(ids) else None)


async def test_many_pulled_authors_are_read_deep_for_many_pages_at_once(turning: Turning) -> None:
    """Below the recent posts of many pulled authors, most pages read no table."""
    viewer, ids = await celebrities(turning, 25, PROLIFIC, uneven=False)
    await turning.home.page(viewer)
    turning.home.world.calls.clear()
    start = 25 * AUTHOR_CAP
    assert await turning.home.walk(viewer, 10, ids[start]) == ids[start + 1 :]
    assert turning.home.world.calls["by_authors"] < (len(ids) - start) // 20


async def test_walking_while_pulled_authors_post(turning: Turning) -> None:
    """Posts of pulled authors that arrive during a walk shift nothing, and are seen from the top."""
    viewer, ids = await celebrities(turning, 3, PROLIFIC)
    famous = next(iter(turning.home.world.turns))
    shown, last = await turning.home.page(viewer, 30)
    while last is not None:
        await turning.publish(famous)
        page, last = await turning.home.page(viewer, 30, last)
        shown += page
    assert shown == ids

    async def is_complete() -> bool:
        return await turning.home.walk(viewer) == turning.home.world.feed_of(viewer)

    await until(is_complete)


async def test_deleted_posts_of_pulled_authors_make_no_page_short(turning: Turning) -> None:
    """Where most of a pulled author's posts are deleted, pages are full all the same."""
    viewer, ids = await celebrities(turning, 2, PROLIFIC)
    await turning.home.page(viewer)
    for post_id in ids[::3] + ids[1::3]:
        turning.home.delete(post_id)
    assert await turning.home.walk(viewer, 7) == ids[2::3]


async def test_a_pulled_post_is_in_the_feed_without_a_push(turning: Turning, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pulled author's new post is in no timeline, and in every follower's feed as soon as what is kept is old."""
    viewer, ids = await celebrities(turning, 1, 3)
    (author,) = turning.home.world.turns
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    new = await turning.publish(author)
    window = (await turning.home.store.read_home(viewer, None)).window
    assert window is not None
    assert new not in window.post_ids
    assert await turning.home.page(viewer) == ([new, *ids], None)


async def test_recent_posts_of_pulled_authors_are_kept_for_a_moment(turning: Turning) -> None:
    """They are asked for once by many readers at the same time, not again at once, and again soon."""
    viewer, ids = await celebrities(turning, 1, 3)
    (author,) = turning.home.world.turns
    turning.home.world.calls.clear()
    pages = await asyncio.gather(*(turning.home.page(viewer) for _ in range(20)))
    assert pages == [(ids, None)] * 20
    assert turning.home.world.calls["by_authors"] == 1
    new = await turning.publish(author)

    async def is_shown() -> bool:
        return (await turning.home.page(viewer))[0] == [new, *ids]

    await until(is_shown)


@pytest.mark.parametrize("authors", [1, 30])
async def test_a_warm_page_is_one_round_trip_with_pulled_authors(
    single: str, users: Iterator[int], monkeypatch: pytest.MonkeyPatch, authors: int
) -> None:
    """While the recent posts of pulled authors are kept, a first page is one exchange over the socket and no call of anybody."""
    monkeypatch.setattr(pulled, "_SECONDS", 60)
    async with wire_to(single) as (wire, url), patient_store(url) as counted:
        turning = Turning(Home(counted, World(), users))
        viewer, ids = await celebrities(turning, authors, 40)
        first = await turning.home.page(viewer)
        turning.home.world.calls.clear()
        wire.round_trips = 0
        assert await turning.home.page(viewer) == first
        assert first[0] == ids[:20]
        assert (wire.round_trips, turning.home.world.calls.total()) == (1, 0)


async def test_a_follow_after_a_turn_marks(turning: Turning) -> None:
    """Who comes to follow an author who has turned finds the posts that are not pushed."""
    home = turning.home
    viewer, _ = home.community(1)
    author = next(home.users)
    await home.page(viewer)
    await turning.pull(author)
    old = await turning.publish(author)
    await home.follow(viewer, author)
    assert dict((await home.store.read_home(viewer, None)).sources.marks) == {author: 1}
    new = await turning.publish(author)
    assert await home.page(viewer) == ([new, old], None)


@pytest.mark.parametrize("gate", ["left", "followees", "turned", "by_authors"])
async def test_a_turn_during_a_rebuild_is_not_lost(turning: Turning, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An author who turns after a rebuild read what it needs, and before it is done, is pulled by it all the same."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    home = turning.home
    viewer, (author, _) = home.community(2)
    old = turning.commit(author)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.page(viewer))
        await held.reached.wait()
        await turning.pull(author)
        new = await turning.publish(author)
        held.open()
    assert await home.walk(viewer) == [new, old]


@pytest.mark.parametrize("gate", ["is_followee", "turned", "by_authors"])
async def test_a_turn_while_a_follow_is_applied_is_not_lost(turning: Turning, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An author who turns while a new follower's timeline is told is pulled by it: the job, or the follow, marks the author."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    home = turning.home
    viewer, _ = home.community(1)
    author = next(home.users)
    old = turning.commit(author)
    await home.page(viewer)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.follow(viewer, author))
        await held.reached.wait()
        await turning.pull(author)
        new = await turning.publish(author)
        held.open()
    assert await home.walk(viewer) == [new, old]


@pytest.mark.parametrize("lost", [home_key, sources_key])
async def test_a_lost_timeline_finds_its_pulled_authors_again(
    turning: Turning, redis: Redis, lost: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its timeline or what stands beside it lost, a viewer's rebuild asks who ever turned."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    viewer, ids = await celebrities(turning, 2, 5)
    await turning.home.page(viewer)
    await redis.delete(lost(viewer))
    new = await turning.publish(next(iter(turning.home.world.turns)))
    assert await turning.home.page(viewer) == ([new, *ids], None)


async def test_a_pulled_post_planned_after_the_turn_back_is_pushed(turning: Turning) -> None:
    """A post that was written while its author was pulled reaches feeds, though by then nobody pulls."""
    home = turning.home
    viewer, (author, _) = home.community(2)
    await turning.pull(author)
    late = turning.commit(author)
    turning.to_push(author)
    await home.page(viewer)
    assert await turning.plan(late, author) == [viewer]


async def test_marks_go_once_they_are_not_needed(turning: Turning, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a turn back, posts are still pulled as long as the timeline reaches down to the turn; then the mark goes."""
    monkeypatch.setattr(redis_store, "HOME_CAP", 5)
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    home = turning.home
    viewer, (author, friend) = home.community(2)
    await home.page(viewer)
    await turning.pull(author)
    for _ in range(3):
        await turning.publish(author)
    turning.to_push(author)
    await home.follow(viewer, friend)
    for _ in range(5):
        await turning.publish(author)
        assert await home.walk(viewer, 2) == home.world.feed_of(viewer)
        assert (await home.store.read_home(viewer, None)).sources.marks
    for _ in range(30):
        await turning.publish(friend)
    await home.page(viewer)
    assert not (await home.store.read_home(viewer, None)).sources.marks
    assert await home.walk(viewer, 2) == home.world.feed_of(viewer)


async def test_marks_of_who_is_still_pulled_stay(turning: Turning, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of the feed the timeline holds, an author who has not turned back stays marked."""
    monkeypatch.setattr(redis_store, "HOME_CAP", 5)
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    home = turning.home
    viewer, (author, friend) = home.community(2)
    await turning.pull(author)
    await home.page(viewer)
    for _ in range(30):
        await turning.publish(friend)
    await home.page(viewer)
    await turning.publish(author)
    assert await home.walk(viewer, 2) == home.world.feed_of(viewer)


async def test_a_mark_that_comes_after_the_author_left_shows_nothing(turning: Turning) -> None:
    """A job that read the followers before an unfollow does not bring the author back, not even hours later."""
    home = turning.home
    viewer, (author, _) = home.community(2)
    await home.page(viewer)
    job = turning.to_pull(author)
    await anext(job)
    await home.unfollow(viewer, author)
    await anext(job)
    await turning.publish(author)
    assert await home.page(viewer) == ([], None)
    await home.store.settle(viewer, home.ids.next())
    assert await home.page(viewer) == ([], None)


async def test_late_pushes_of_who_left_before_a_loss_are_hidden(turning: Turning, redis: Redis) -> None:
    """Posts and marks of an author who was unfollowed before everything was lost, and that come only now, are not shown."""
    home = turning.home
    viewer, (author, friend) = home.community(2)
    await home.page(viewer)
    job = turning.to_pull(author)
    await anext(job)
    late = turning.commit(author)
    followers = await turning.plan(late, author)
    await home.unfollow(viewer, author)
    await redis.delete(home_key(viewer), sources_key(viewer), author_key(author), author_key(friend))
    shown = await turning.publish(friend)
    assert await home.page(viewer) == ([shown], None)
    assert await home.delivery.push(entry := home.entry(late), followers) == 1
    await anext(job)
    window = (await home.store.read_home(viewer, None)).window
    assert window is not None
    assert entry.post_id in window.post_ids
    assert await home.page(viewer) == ([shown], None)


async def test_who_left_and_came_back_is_not_hidden_by_a_rebuild(home: Home, redis: Redis) -> None:
    """Only who is still away counts as one who left."""
    viewer, (author, _) = home.community(2)
    await home.page(viewer)
    await home.unfollow(viewer, author)
    await home.follow(viewer, author)
    post_id = await home.publish(author)
    await redis.delete(home_key(viewer), sources_key(viewer))
    assert await home.page(viewer) == ([post_id], None)


@pytest.mark.parametrize("size", [1, 5, 20])
async def test_a_page_that_pulled_authors_alone_would_fill(turning: Turning, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """However many pulled authors posted lately, often or once, every page has the newest posts of all, and of pushed ones."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    home = turning.home
    viewer, (friend, *authors) = home.community(31)
    for author in authors:
        await turning.pull(author)
    assert await home.page(viewer) == ([], None)
    for number in range(120):
        await turning.publish(authors[number * 7 % (30 if number % 2 else 11)])
        if number % 7 == 0:
            await turning.publish(friend)
    assert await home.walk(viewer, size) == home.world.feed_of(viewer)
