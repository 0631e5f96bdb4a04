"""What every server that keeps timelines has to do with a home timeline: pushes, reads and merges."""

import random
from array import array
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from tests.timeline.home import complete
from tests.timeline.windows import AUTHOR, NONE, OTHER, ids_of, ready, window_of
from timeline_svc.packed import SLACK, Entry, State, Window
from timeline_svc.redis_store import HOME_CAP, RedisTimelineStore, home_key


async def test_a_push_leaves_a_missing_timeline_missing(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A timeline that does not exist is not made by a push, and not counted."""
    assert await store.push_home(Entry(10, AUTHOR), [user]) == 0
    assert await store.read_home(user, None) == NONE
    assert not await redis.exists(home_key(user))


async def test_a_push_counts_those_that_hold_the_entry(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """Of many users, over more than one script call, exactly those with a timeline get the entry and are counted."""
    everybody = [next(users) for _ in range(1_200)]
    active = everybody[::40]
    for user in active:
        await ready(store, user)
    assert await store.push_home(Entry(10, AUTHOR), everybody) == len(active)
    assert [await ids_of(store, user) for user in active] == [[10]] * len(active)


async def test_a_repeated_push_changes_nothing(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """An entry that is the newest, or further down, stays once, and counts as held."""
    await ready(store, user)
    for post_id in (10, 20):
        await store.push_home(Entry(post_id, AUTHOR), [user])
    before = await redis.get(home_key(user))
    assert [await store.push_home(Entry(post_id, AUTHOR), [user]) for post_id in (20, 10)] == [1, 1]
    assert await redis.get(home_key(user)) == before


@pytest.mark.parametrize("late", [5, 15, 25])
async def test_a_late_entry_is_spliced_in(store: RedisTimelineStore, user: int, late: int) -> None:
    """An entry that comes after newer ones stands where it belongs, with its author."""
    await ready(store, user, 10, 20, 30)
    assert await store.push_home(Entry(late, OTHER), [user]) == 1
    window = await window_of(store, user)
    assert list(window.post_ids) == sorted([10, 20, 30, late])
    assert window.author_ids[window.post_ids.index(late)] == OTHER


async def test_pushes_in_any_order_end_in_order(store: RedisTimelineStore, user: int) -> None:
    """Whatever the order of the pushes, the timeline ascends; it crosses the slack's boundary several times."""
    await ready(store, user)
    ids = list(range(1, 4 * SLACK))
    for post_id in random.Random(1).sample(ids, len(ids)):  # noqa: S311  # a shuffle that is the same every time
        await store.push_home(Entry(post_id, AUTHOR), [user])
    assert await ids_of(store, user) == ids


async def test_every_step_over_the_slack_is_whole(store: RedisTimelineStore, user: int) -> None:
    """After each of many pushes, the whole timeline and every tail of it are what was pushed."""
    await ready(store, user)
    for number in range(1, 2 * SLACK + 4):
        await store.push_home(Entry(number, AUTHOR + number), [user])
        window = await window_of(store, user)
        ids, authors = array("Q", range(1, number + 1)), array("Q", [AUTHOR + each for each in window.post_ids])
        assert window == Window(State.READY, 0, ids, authors, whole=True, generation=window.generation)


@pytest.mark.parametrize("newest", [0, 1, 5, SLACK, 40, 41, 60])
@pytest.mark.parametrize("pushed", [0, 3, SLACK])
async def test_a_tail_is_the_end_of_the_whole(store: RedisTimelineStore, user: int, newest: int, pushed: int) -> None:
    """A read of the newest entries brings at least as many, from the same state, and knows whether it is all."""
    await ready(store, user, *range(1, 41 - pushed), floor=1)
    for post_id in range(41 - pushed, 41):
        await store.push_home(Entry(post_id, AUTHOR), [user])
    tail, whole = (await store.read_home(user, newest)).window, await window_of(store, user)
    assert tail is not None
    count = len(tail.post_ids)
    assert min(newest, 40) <= count <= newest + SLACK
    assert tail == whole._replace(
        post_ids=whole.post_ids[40 - count :], author_ids=whole.author_ids[40 - count :], whole=count == 40
    )


async def test_beyond_the_cap_the_oldest_go_and_the_floor_rises(store: RedisTimelineStore, user: int) -> None:
    """Over the cap and its slack the timeline is cut to the newest; the floor is the first that stays, and the rest is whole."""
    await ready(store, user, *range(1, HOME_CAP))
    floors = set()
    for newest in range(HOME_CAP, HOME_CAP + 3 * SLACK):
        await store.push_home(Entry(newest, AUTHOR), [user])
        window = await window_of(store, user)
        assert len(window.post_ids) <= HOME_CAP + SLACK
        assert list(window.post_ids) == list(range(max(window.floor, 1), newest + 1))
        floors.add(window.floor)
    assert len(floors) == 3


async def test_what_is_below_the_floor_is_not_taken(store: RedisTimelineStore, user: int) -> None:
    """An entry below the floor stays out, because others down there are missing too; at the floor it is taken."""
    await ready(store, user, 20, 30, floor=15)
    assert [await store.push_home(Entry(post_id, AUTHOR), [user]) for post_id in (14, 15)] == [1, 1]
    assert await ids_of(store, user) == [15, 20, 30]


async def test_an_empty_timeline_with_a_floor_takes_only_what_is_above(store: RedisTimelineStore, user: int) -> None:
    """Without any entry the floor still holds."""
    await ready(store, user, floor=15)
    for post_id in (14, 15):
        await store.push_home(Entry(post_id, AUTHOR), [user])
    window = await window_of(store, user)
    assert (window.floor, list(window.post_ids)) == (15, [15])


async def test_pulled_and_live_entries_are_merged(store: RedisTimelineStore, user: int) -> None:
    """What was pushed during a rebuild and what was pulled stand together, in order, each once, with their authors."""
    await store.begin_home(user)
    for post_id in (15, 20, 40):
        await store.push_home(Entry(post_id, OTHER), [user])
    rebuilding = await window_of(store, user)
    assert (rebuilding.state, list(rebuilding.post_ids)) == (State.REBUILDING, [15, 20, 40])
    pulled = [Entry(10, AUTHOR), Entry(20, OTHER), Entry(30, AUTHOR)]
    assert await complete(store, user, pulled, 0)
    merged = await window_of(store, user)
    assert (merged.state, merged.floor) == (State.READY, 0)
    assert list(merged.post_ids) == [10, 15, 20, 30, 40]
    assert list(merged.author_ids) == [AUTHOR, OTHER, OTHER, AUTHOR, OTHER]


async def test_a_merge_is_only_complete_from_the_higher_floor_on(store: RedisTimelineStore, user: int) -> None:
    """Of two floors the higher holds, whichever side has it, and what is below it goes."""
    await ready(store, user, 10, 20, 30, floor=5)
    await store.add_home(user, [Entry(15, OTHER), Entry(25, OTHER)], 15)
    assert (await window_of(store, user)).floor == 15
    await store.add_home(user, [Entry(12, OTHER), Entry(22, OTHER)], 12)
    window = await window_of(store, user)
    assert (window.floor, list(window.post_ids)) == (15, [15, 20, 22, 25, 30])


async def test_a_merge_is_cut_to_the_cap(store: RedisTimelineStore, user: int) -> None:
    """More than the cap is cut to the newest at once."""
    await ready(store, user, *range(2, 2 * HOME_CAP, 2))
    await store.add_home(user, [Entry(post_id, OTHER) for post_id in range(1, 2 * HOME_CAP, 2)], 0)
    window = await window_of(store, user)
    assert (window.floor, list(window.post_ids)) == (HOME_CAP, list(range(HOME_CAP, 2 * HOME_CAP)))


async def test_a_merge_into_nothing_is_refused(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A timeline that was lost meanwhile is not made by a merge: pushes in between would be missing."""
    assert not await store.complete_home(user, b"abc", [Entry(10, AUTHOR)], 0, marks={}, left={})
    assert not await store.add_home(user, [Entry(10, AUTHOR)], 0)
    assert not await redis.exists(home_key(user))


async def test_only_a_rebuild_makes_a_timeline_ready(store: RedisTimelineStore, user: int) -> None:
    """A merge of one author's posts leaves the state as it is, whichever it is."""
    await store.begin_home(user)
    await store.add_home(user, [Entry(10, AUTHOR)], 0)
    assert (await window_of(store, user)).state is State.REBUILDING
    await complete(store, user, [], 0)
    await store.add_home(user, [Entry(20, AUTHOR)], 0)
    assert (await window_of(store, user)).state is State.READY


async def test_beginning_harms_no_timeline(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """Where a timeline is, ready or not, beginning another changes nothing."""
    await store.begin_home(user)
    await store.push_home(Entry(10, AUTHOR), [user])
    for _ in range(2):
        before = await redis.get(home_key(user))
        await store.begin_home(user)
        assert await redis.get(home_key(user)) == before
        await complete(store, user, [Entry(5, AUTHOR)], 0)
