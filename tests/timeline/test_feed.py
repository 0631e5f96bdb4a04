"""Reading a home feed over the real store and a world in dictionaries: complete, in order, whatever happens meanwhile."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meshkit.clock import now_ms
from meshkit.errors import UnavailableError
from meshkit.ids import first_id_at
from tests.timeline.home import Home, World, complete, posts_of
from timeline_svc.feed import SETTLED_AFTER_MS
from timeline_svc.packed import Entry, State
from timeline_svc.redis_store import HOME_CAP, RedisTimelineStore, author_key, follow_changes_key, home_key, open_redis

POSTS = HOME_CAP + 250


def fill(home: Home, authors: list[int], posts: int = POSTS) -> list[int]:
    """Commit posts, half of them by the first author, the others in turn, and give their ids, oldest first."""
    others = authors[1:]
    return [home.commit(authors[0] if number % 2 else others[number // 2 % len(others)]) for number in range(posts)]


async def push_all(home: Home, viewer: int, post_ids: list[int]) -> None:
    """Have the viewer's timeline made of pushes alone."""
    await complete(home.store, viewer, [], 0)
    for post_id in post_ids:
        await home.store.push_home(Entry(post_id, home.world.posts[post_id].user_id), [viewer])


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


async def test_a_warm_page_costs_no_call(home: Home) -> None:
    """A page read once more asks neither the graph nor the posts."""
    viewer, authors = home.community(3)
    fill(home, authors, 60)
    first = await home.page(viewer)
    home.world.calls.clear()
    assert await home.page(viewer) == first
    assert not home.world.calls


async def test_a_lost_timeline_is_rebuilt(home: Home, redis: Redis) -> None:
    """A timeline that the server lost is whole again with the next read, also one that was left half rebuilt."""
    viewer, authors = home.community(3)
    ids = fill(home, authors, 300)
    for half_done in (False, True):
        await redis.delete(home_key(viewer), *(author_key(author) for author in authors))
        if half_done:
            await home.store.begin_home(viewer)
        assert await home.walk(viewer) == ids[::-1]
        window = (await home.store.read_home(viewer, None)).window
        assert window is not None
        assert (window.state, list(window.post_ids)) == (State.READY, ids)


GATES = ["followees", "by_authors"]


@pytest.mark.parametrize("gate", GATES)
async def test_a_post_during_a_rebuild_is_not_lost(home: Home, gate: str) -> None:
    """What is published after a rebuild read the tables, and before it is done, is in the timeline, once."""
    viewer, authors = home.community(3)
    ids = fill(home, authors, 40)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.page(viewer))
        await held.reached.wait()
        ids += [await home.publish(authors[0]), await home.publish(viewer)]
        held.open()
    assert await reading == (ids[:-21:-1], ids[-20])
    assert await home.walk(viewer) == ids[::-1]


@pytest.mark.parametrize("gate", GATES)
async def test_a_post_committed_during_a_rebuild_and_delivered_after(home: Home, gate: str) -> None:
    """A post whose delivery comes only after the rebuild is there then, in its place among newer ones, once."""
    viewer, authors = home.community(3)
    ids = fill(home, authors, 40)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.page(viewer))
        await held.reached.wait()
        late = home.commit(authors[1])
        newer = await home.publish(authors[0])
        held.open()
    await home.deliver(late, authors[1])
    assert await home.walk(viewer) == [newer, late, *reversed(ids)]
    await home.deliver(late, authors[1])
    assert await home.walk(viewer) == [newer, late, *reversed(ids)]


@pytest.mark.parametrize("gate", GATES)
async def test_a_follow_during_a_rebuild_is_not_lost(home: Home, gate: str) -> None:
    """A rebuild that read the edges before a follow ends with the new followee's posts all the same."""
    viewer, authors = home.community(3)
    newcomer = next(home.users)
    ids = fill(home, [*authors, newcomer], 40)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.page(viewer))
        await held.reached.wait()
        await home.follow(viewer, newcomer)
        # The newcomer's posts alone are not yet a timeline that may be shown.
        window = (await home.store.read_home(viewer, None)).window
        assert window is not None
        assert window.state is State.REBUILDING
        held.open()
    assert await home.walk(viewer) == ids[::-1]


@pytest.mark.parametrize("gate", GATES)
async def test_an_unfollow_during_a_rebuild_is_kept(home: Home, gate: str) -> None:
    """A rebuild that read the edges before an unfollow does not bring the author back."""
    viewer, authors = home.community(3)
    fill(home, authors, 40)
    held = home.world.gate(gate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.page(viewer))
        await held.reached.wait()
        await home.unfollow(viewer, authors[0])
        held.open()
    assert await home.walk(viewer) == home.world.feed_of(viewer)


async def test_a_loss_during_a_rebuild_starts_another(home: Home, redis: Redis) -> None:
    """A timeline lost while it is rebuilt does not come back without what was published in between."""
    viewer, authors = home.community(2)
    ids = fill(home, authors[:1] * 2, 30)
    held = home.world.gate("by_authors")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.page(viewer, 100))
        await held.reached.wait()
        await redis.delete(home_key(viewer), *(author_key(author) for author in [viewer, *authors]))
        ids.append(await home.publish(authors[0]))
        held.open()
    assert await reading == (ids[::-1], None)
    assert await home.walk(viewer) == ids[::-1]


async def test_a_loss_between_two_rebuilds_loses_no_post(home: Home, redis: Redis) -> None:
    """What was published between a loss and a new beginning is not missing because an older rebuild was still under way."""
    author, early, late, viewer = (next(home.users) for _ in range(4))
    for user in (early, late, viewer):
        home.world.edges[user].add(author)
    ids = fill(home, [author, author], 30)
    old, new = home.world.gate("by_authors"), home.world.gate("by_authors")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(home.page(early))
        await old.reached.wait()
        await redis.delete(author_key(author), author_key(early), home_key(early))
        ids.append(await home.publish(author))
        second = tasks.create_task(home.page(late))
        await new.reached.wait()
        old.open()
        await first
        # Its timeline is built while the author's recent posts are as the first rebuild left them.
        await home.page(viewer)
        new.open()
        await second
    assert await home.walk(viewer) == ids[::-1]


async def test_without_the_store_the_feed_is_complete(home: Home, tmp_path: Path) -> None:
    """Where no timelines are to be had, the tables give the same feed, to the end."""
    viewer, authors = home.community(4)
    ids = fill(home, authors)
    async with open_redis(f"unix://{tmp_path}/nobody") as nobody:
        away = Home(nobody, home.world, home.users)
        assert await away.walk(viewer) == ids[::-1]


async def test_without_the_graph_only_what_is_cached_is_shown(home: Home) -> None:
    """A rebuild that fails says so to its readers and leaves nothing behind; a page from the timeline needs nobody else."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, 30)
    home.world.away = True
    with pytest.raises(UnavailableError):
        await home.page(viewer)
    home.world.away = False
    first = await home.page(viewer)
    assert first == (ids[:-21:-1], ids[-20])
    home.world.away = True
    assert await home.page(viewer) == first


async def test_rebuilds_are_shared(home: Home) -> None:
    """Many readers of a missing timeline wait for one rebuild; the next loss is answered by another one."""
    viewer, authors = home.community(2)
    fill(home, authors, 30)
    held = home.world.gate("followees")
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(home.page(viewer)) for _ in range(20)]
        await held.reached.wait()
        held.open()
    assert home.world.calls["followees"] == 1
    assert len({tuple(reader.result()[0]) for reader in readers}) == 1


async def test_a_reader_who_leaves_does_not_end_the_rebuild(home: Home) -> None:
    """A rebuild goes on for the others when the reader who started it is cancelled."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, 10)
    held = home.world.gate("followees")
    first = asyncio.create_task(home.page(viewer))
    await held.reached.wait()
    second = asyncio.create_task(home.page(viewer))
    await asyncio.sleep(0)
    first.cancel()
    held.open()
    assert await second == (ids[::-1], None)
    assert first.cancelled()
    assert home.world.calls["followees"] == 1


async def test_posts_are_loaded_once(home: Home) -> None:
    """Readers of the same posts share one load of each, also where their wishes only overlap."""
    ids = fill(home, [1, 2], 30)
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(home.cache.items(ids[:20]))
        await held.reached.wait()
        two = tasks.create_task(home.cache.items(ids[10:]))
        same = tasks.create_task(home.cache.items(ids[:20]))
        await asyncio.sleep(0)
        held.open()
    assert set(home.world.looked_up.values()) == {1}
    assert one.result() == same.result()
    assert [*one.result(), *two.result()] == [*ids[:20], *ids[10:]]


async def test_a_failed_load_is_tried_again(home: Home) -> None:
    """A load that fails fails for those who waited, and not for the next."""
    ids = fill(home, [1, 2], 3)
    home.world.away = True
    with pytest.raises(UnavailableError):
        await home.cache.items(ids)
    home.world.away = False
    assert list(await home.cache.items(ids)) == ids


async def test_a_post_that_changes_while_it_is_loaded(home: Home) -> None:
    """A copy read before an edit is not shown after it, to whoever began to load it, nor later."""
    viewer, _ = home.community(0)
    post_id = home.commit(viewer)
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.feed.page(viewer, 20, None))
        await held.reached.wait()
        home.cache.changed(post_id, home.world.edit(post_id, "new"))
        later = tasks.create_task(home.feed.page(viewer, 20, None))
        held.open()
    for page in (await reading, await later, await home.feed.page(viewer, 20, None)):
        assert [(post.content, post.version) for post in posts_of(page)] == [("new", 2)]


async def test_changes_that_went_by_unheard(home: Home) -> None:
    """When changes may have been missed, no copy is believed any more, neither a kept one nor one that is being loaded."""
    viewer, _ = home.community(0)
    kept, loading = home.commit(viewer), home.commit(viewer)
    await home.cache.items([kept])
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.cache.items([loading]))
        await held.reached.wait()
        for post_id in (kept, loading):
            home.world.edit(post_id, "new")
        home.cache.missed_changes()
        held.open()
    assert b"new" in (await reading)[loading]
    page = await home.feed.page(viewer, 20, None)
    assert [post.content for post in posts_of(page)] == ["new", "new"]


async def test_a_post_deleted_while_it_is_loaded(home: Home) -> None:
    """A copy read before a deletion is shown to nobody."""
    viewer, _ = home.community(0)
    post_id = home.commit(viewer)
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.page(viewer))
        await held.reached.wait()
        home.delete(post_id)
        held.open()
    assert await reading == ([], None)
    assert await home.page(viewer) == ([], None)


async def test_a_post_that_changes_at_every_load_is_left_out(home: Home) -> None:
    """A post that changes faster than it can be read is missing from the page, not old; then it is there again."""
    viewer, _ = home.community(0)
    other, restless = home.commit(viewer), home.commit(viewer)
    gates = [home.world.gate("lookup") for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.page(viewer))
        for gate in gates:
            await gate.reached.wait()
            home.cache.changed(restless, home.world.edit(restless, "again"))
            gate.open()
    assert await reading == ([other], None)
    assert await home.page(viewer) == ([restless, other], None)


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "loaded first"])
async def test_a_post_deleted_while_the_page_waits_for_another(home: Home, cached: bool) -> None:  # noqa: FBT001
    """A page that waits for one post does not show another one that is deleted meanwhile."""
    ids = fill(home, [1, 2], 2)
    if cached:
        await home.cache.items(ids[:1])
    slow = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(home.cache.items(ids[1:]))
        await slow.reached.wait()
        reading = tasks.create_task(home.cache.items(ids))
        while not cached and not home.world.looked_up[ids[0]]:  # noqa: ASYNC110  # no gate: this one is to pass
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        home.delete(ids[0])
        slow.open()
    assert list(await other) == ids[1:]
    assert list(await reading) == ids[1:]


async def test_changes_may_come_in_any_order(home: Home) -> None:
    """News of an older version, after news of a newer one, does not make an older copy acceptable."""
    viewer, _ = home.community(0)
    post_id = home.commit(viewer)
    older = home.world.edit(post_id, "one")
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.feed.page(viewer, 20, None))
        await held.reached.wait()
        newer = home.world.edit(post_id, "two")
        for version in (newer, older):
            home.cache.changed(post_id, version)
        held.open()
    assert [post.content for post in posts_of(await reading)] == ["two"]


async def test_a_follow_brings_posts_and_an_unfollow_takes_them(home: Home) -> None:
    """The feed is at once what the edges say, also when they change back, and for posts delivered late."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, 60)
    await home.page(viewer)
    await home.unfollow(viewer, authors[0])
    late = await home.publish(authors[0])
    await home.delivery.push(Entry(late, authors[0]), [viewer])
    assert await home.walk(viewer, 7) == home.world.feed_of(viewer)
    await home.follow(viewer, authors[0])
    assert await home.walk(viewer, 7) == [late, *reversed(ids)]


async def test_following_somebody_with_many_posts(home: Home) -> None:
    """A new followee's posts that go down further than the recent ones neither leave a hole in the timeline nor shorten it."""
    viewer, authors = home.community(2)
    busy = next(home.users)
    ids = fill(home, [busy, *authors], 500)
    await home.page(viewer)
    await home.follow(viewer, busy)
    window = (await home.store.read_home(viewer, None)).window
    assert window is not None
    assert (window.floor, list(window.post_ids)) == (0, ids)
    assert await home.walk(viewer) == ids[::-1]


async def test_an_old_change_is_checked_with_the_graph(home: Home) -> None:
    """A change that comes so late that newer ones may be forgotten is applied as the edge stands now."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, 20)
    await home.page(viewer)
    old = first_id_at(now_ms() - SETTLED_AFTER_MS)
    await home.changes.apply(viewer, authors[0], old, following=False)
    assert await home.walk(viewer) == ids[::-1]
    home.world.edges[viewer].discard(authors[1])
    await home.changes.apply(viewer, authors[1], old, following=True)
    assert await home.walk(viewer) == home.world.feed_of(viewer)


async def test_a_read_settles_old_changes(home: Home, store: RedisTimelineStore, redis: Redis) -> None:
    """A read forgets changes that are over an hour old, with what they hid, and keeps newer ones."""
    viewer, authors = home.community(3)
    ids = fill(home, authors, 9)
    await home.page(viewer)
    old, recent = first_id_at(now_ms() - SETTLED_AFTER_MS - 60_000), first_id_at(now_ms() - SETTLED_AFTER_MS + 600_000)
    for author, version in ((authors[0], old), (authors[1], recent)):
        home.world.edges[viewer].discard(author)
        await store.note_follow(viewer, author, version, following=False)
        await store.push_home(Entry(home.commit(author), author), [viewer])
    expected = [post_id for post_id in reversed(ids) if home.world.posts[post_id].user_id == authors[2]]
    for _ in range(2):
        assert await home.page(viewer) == (expected, None)
    assert await redis.hlen(follow_changes_key(viewer)) == 1
    left = (await store.read_home(viewer, None)).window
    assert left is not None
    assert set(left.author_ids) == {authors[1], authors[2]}


async def test_many_followees_are_pulled_in_parts(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """A viewer of more than a thousand authors gets the newest of all of them."""
    home = Home(store, World(), users)
    viewer, authors = home.community(1_100)
    ids = [home.commit(author) for author in authors]
    assert await home.walk(viewer) == ids[::-1]
