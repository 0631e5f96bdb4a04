"""The posts a feed keeps: loaded once, and never shown older than what the cache was told."""

import asyncio

import pytest

from meshkit.errors import UnavailableError
from meshkit.lifecycle import background
from tests.timeline.home import Home, fill, posts_of


async def test_a_warm_page_costs_no_call(home: Home) -> None:
    """A page read once more asks neither the graph nor the posts."""
    viewer, authors = home.community(3)
    fill(home, authors, 60)
    first = await home.page(viewer)
    home.world.calls.clear()
    assert await home.page(viewer) == first
    assert not home.world.calls


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
    """When changes may have been missed, no kept copy is believed any more, and none is kept that was being loaded then."""
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
    assert list(await reading) == [loading]
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


async def test_a_load_from_before_unheard_changes_serves_nobody_after_them(home: Home) -> None:
    """Whoever asks after changes went by unheard gets the posts as they are, though an older load is still under way."""
    ids = fill(home, [1, 2], 2)
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        before = tasks.create_task(home.cache.items(ids))
        await held.reached.wait()
        home.cache.missed_changes()
        after = tasks.create_task(home.cache.items(ids))
        await asyncio.sleep(0)
        held.open()
    assert list(after.result()) == list(before.result()) == ids


async def test_posts_are_shown_while_changes_keep_going_by_unheard(home: Home) -> None:
    """However often changes go by unheard, whoever asks gets all posts as they were read for him, with one load of each."""
    ids = fill(home, [1, 2], 3)

    async def miss_without_end() -> None:
        while True:
            home.cache.missed_changes()
            await asyncio.sleep(0)

    async with background(miss_without_end()):
        assert list(await home.cache.items(ids)) == ids
    assert set(home.world.looked_up.values()) == {1}


async def test_an_older_load_is_not_believed_after_unheard_changes(home: Home) -> None:
    """Who joined a load sees what was acknowledged before he asked, though the load began before that and nothing was heard."""
    [post_id, deleted] = fill(home, [1, 2], 2)
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(home.cache.items([post_id, deleted]))
        await held.reached.wait()
        home.world.edit(post_id, "new")
        home.world.remove(deleted)
        reading = tasks.create_task(home.cache.items([post_id, deleted]))
        await asyncio.sleep(0)
        home.cache.missed_changes()
        held.open()
    assert list(reading.result()) == [post_id]
    assert b"new" in reading.result()[post_id]


async def test_a_change_is_not_forgotten_while_older_loads_last(home: Home) -> None:
    """A copy read before a deletion is neither shown nor kept, even when so many others changed that it is forgotten."""
    [post_id, other] = fill(home, [1, 2], 2)
    held = home.world.gate("lookup")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(home.cache.items([post_id, other]))
        await held.reached.wait()
        home.cache.changed(post_id, home.world.remove(post_id))
        for stranger in range(1, 100_001):
            home.cache.changed(stranger, 1)
        held.open()
    assert list(reading.result()) == list(await home.cache.items([post_id, other])) == [other]


async def test_what_is_kept_outlives_the_memory_of_changes(home: Home) -> None:
    """However many other posts change, also more than are remembered, a kept copy is still shown, beside one that is loaded."""
    ids = fill(home, [1, 2], 2)
    kept, loaded = ids
    await home.cache.items([kept])
    for other in range(100_001):
        home.cache.changed(10**15 + other, 1)
    home.world.calls.clear()
    assert list(await home.cache.items([kept])) == [kept]
    assert not home.world.calls
    assert list(await home.cache.items([kept, loaded])) == [kept, loaded]
