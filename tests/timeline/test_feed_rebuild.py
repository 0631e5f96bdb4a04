"""Rebuilding a home timeline over the real store: nothing is lost, whatever happens meanwhile, and nothing is done twice."""

import asyncio

import pytest
from redis.asyncio import Redis

from meshkit.errors import UnavailableError
from tests.timeline.home import Home, fill
from timeline_svc.packed import State
from timeline_svc.redis_store import author_key, home_key

GATES = ["followees", "by_authors"]


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
