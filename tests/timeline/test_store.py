"""What every server that keeps timelines has to do."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meshkit.errors import UnavailableError
from meshkit.ids import MAX_ID
from tests.timeline.home import complete
from tests.timeline.wire import wire_to
from timeline_svc.packed import SLACK, Entry, State, Window
from timeline_svc.ports import HomeWindow
from timeline_svc.redis_store import AUTHOR_CAP, HOME_CAP, RedisTimelineStore, author_key, follow_changes_key, home_key, open_redis

AUTHOR, OTHER = 7, 8
# Ids that a float, a signed number, a C string or a comparison of only some bytes would mix up.
ODD_IDS = [
    1,
    255,
    256,
    2**32 - 1,
    2**32,
    2**32 + 1,
    2**33 + 1,
    2**53 - 1,
    2**53,
    2**53 + 1,
    0x0100_0000_0000_0000,
    0x0100_0000_0000_0001,
    0x0A00_0D00_0A00_0D00,
    2**63 - 1,
    2**63,
    2**63 + 1,
    0xFF00_0000_0000_0000,
    0xFF00_0000_0000_00FF,
    MAX_ID - 1,
    MAX_ID,
]


async def ready(store: RedisTimelineStore, user: int, *post_ids: int, floor: int = 0) -> None:
    """Make a timeline of the author's posts."""
    await store.begin_home(user)
    assert await complete(store, user, [Entry(post_id, AUTHOR) for post_id in post_ids], floor)


async def window_of(store: RedisTimelineStore, user: int) -> Window:
    """Read a timeline that exists, whole."""
    window = (await store.read_home(user, None)).window
    assert window is not None
    assert window.whole
    return window


async def ids_of(store: RedisTimelineStore, user: int) -> list[int]:
    """Read a timeline's post ids, oldest first."""
    return list((await window_of(store, user)).post_ids)


async def test_a_push_leaves_a_missing_timeline_missing(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A timeline that does not exist is not made by a push, and not counted."""
    assert await store.push_home(Entry(10, AUTHOR), [user]) == 0
    assert await store.read_home(user, None) == HomeWindow(None)
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
        assert window == Window(
            State.READY, 0, tuple(range(1, number + 1)), tuple(AUTHOR + each for each in window.post_ids), whole=True
        )


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
    assert tail == replace(
        whole, post_ids=whole.post_ids[40 - count :], author_ids=whole.author_ids[40 - count :], whole=count == 40
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
    assert (window.floor, window.post_ids) == (15, (15,))


async def test_pulled_and_live_entries_are_merged(store: RedisTimelineStore, user: int) -> None:
    """What was pushed during a rebuild and what was pulled stand together, in order, each once, with their authors."""
    await store.begin_home(user)
    for post_id in (15, 20, 40):
        await store.push_home(Entry(post_id, OTHER), [user])
    rebuilding = await window_of(store, user)
    assert (rebuilding.state, rebuilding.post_ids) == (State.REBUILDING, (15, 20, 40))
    pulled = [Entry(10, AUTHOR), Entry(20, OTHER), Entry(30, AUTHOR)]
    assert await complete(store, user, pulled, 0)
    expected = Window(State.READY, 0, (10, 15, 20, 30, 40), (AUTHOR, OTHER, OTHER, AUTHOR, OTHER), whole=True)
    assert await window_of(store, user) == expected


async def test_a_merge_is_only_complete_from_the_higher_floor_on(store: RedisTimelineStore, user: int) -> None:
    """Of two floors the higher holds, whichever side has it, and what is below it goes."""
    await ready(store, user, 10, 20, 30, floor=5)
    await store.add_home(user, [Entry(15, OTHER), Entry(25, OTHER)], 15)
    assert (await window_of(store, user)).floor == 15
    await store.add_home(user, [Entry(12, OTHER), Entry(22, OTHER)], 12)
    window = await window_of(store, user)
    assert (window.floor, window.post_ids) == (15, (15, 20, 22, 25, 30))


async def test_a_merge_is_cut_to_the_cap(store: RedisTimelineStore, user: int) -> None:
    """More than the cap is cut to the newest at once."""
    await ready(store, user, *range(2, 2 * HOME_CAP, 2))
    await store.add_home(user, [Entry(post_id, OTHER) for post_id in range(1, 2 * HOME_CAP, 2)], 0)
    window = await window_of(store, user)
    assert (window.floor, list(window.post_ids)) == (HOME_CAP, list(range(HOME_CAP, 2 * HOME_CAP)))


async def test_a_merge_into_nothing_is_refused(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A timeline that was lost meanwhile is not made by a merge: pushes in between would be missing."""
    assert not await store.complete_home(user, b"abc", [Entry(10, AUTHOR)], 0)
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


async def test_an_unfollowed_author_goes_and_stays_hidden(store: RedisTimelineStore, user: int) -> None:
    """The author's entries are removed, one that comes late is named hidden, and others stay."""
    await ready(store, user, 10, 20)
    await store.push_home(Entry(15, OTHER), [user])
    assert await store.note_follow(user, AUTHOR, 100, following=False) == 0
    await store.push_home(Entry(30, AUTHOR), [user])
    home = await store.read_home(user, None)
    assert home.window is not None
    assert home.window.post_ids == (15, 30)
    assert (home.hidden, home.oldest_change) == (frozenset({AUTHOR}), 100)


async def test_a_merge_brings_nothing_of_hidden_authors(store: RedisTimelineStore, user: int) -> None:
    """What was pulled before an unfollow and is merged after it leaves the author out."""
    await ready(store, user)
    await store.note_follow(user, AUTHOR, 100, following=False)
    await complete(store, user, [Entry(10, AUTHOR), Entry(20, OTHER)], 0)
    assert await ids_of(store, user) == [20]


async def test_following_again_shows_again(store: RedisTimelineStore, user: int) -> None:
    """A newer follow lifts the hiding: what is pushed and merged then stays."""
    await ready(store, user)
    await store.note_follow(user, AUTHOR, 100, following=False)
    assert await store.note_follow(user, AUTHOR, 101, following=True) == 0
    await store.push_home(Entry(10, AUTHOR), [user])
    await store.add_home(user, [Entry(5, AUTHOR)], 0)
    home = await store.read_home(user, None)
    assert home.window is not None
    assert (home.window.post_ids, home.hidden, home.oldest_change) == ((5, 10), frozenset(), 101)


@pytest.mark.parametrize("following", [True, False])
async def test_an_older_change_is_ignored(store: RedisTimelineStore, redis: Redis, user: int, following: bool) -> None:  # noqa: FBT001
    """A change that a newer one of the same edge has overtaken does nothing; other edges have their own versions."""
    await ready(store, user, 10)
    newest = 2**63 + 1
    await store.note_follow(user, AUTHOR, newest, following=following)
    before = await redis.get(home_key(user)), await redis.hgetall(follow_changes_key(user))
    assert await store.note_follow(user, AUTHOR, newest - 1, following=not following) is None
    assert (await redis.get(home_key(user)), await redis.hgetall(follow_changes_key(user))) == before
    assert await store.note_follow(user, OTHER, 1, following=True) == 0


async def test_a_repeated_change_is_applied_again(store: RedisTimelineStore, user: int) -> None:
    """The same change once more is not outdated: its first try may have ended half way."""
    await ready(store, user)
    answers = [await store.note_follow(user, AUTHOR, 100, following=True) for _ in range(2)]
    assert answers == [0, 0]


async def test_a_change_without_a_timeline_is_kept(store: RedisTimelineStore, user: int) -> None:
    """Without a timeline a change is noted all the same, because a rebuild may be reading the edges."""
    assert await store.note_follow(user, AUTHOR, 100, following=False) is None
    assert await store.read_home(user, None) == HomeWindow(None, frozenset({AUTHOR}), 100)
    await ready(store, user, 10)
    assert await ids_of(store, user) == []


async def test_settling_forgets_old_changes_with_what_they_hid(store: RedisTimelineStore, user: int) -> None:
    """Notes below the version go, and with them late entries of authors they hid; newer notes and other entries stay."""
    await ready(store, user)
    await store.note_follow(user, AUTHOR, 100, following=False)
    await store.note_follow(user, OTHER, 200, following=False)
    await store.note_follow(user, 9, 99, following=True)
    for post_id, author in ((10, AUTHOR), (20, OTHER), (30, 9)):
        await store.push_home(Entry(post_id, author), [user])
    await store.settle(user, 101)
    home = await store.read_home(user, None)
    assert home.window is not None
    assert (home.window.post_ids, home.hidden, home.oldest_change) == ((20, 30), frozenset({OTHER}), 200)


async def test_settling_without_a_timeline(store: RedisTimelineStore, user: int) -> None:
    """Notes are forgotten where the timeline is missing too, and none is made."""
    await store.note_follow(user, AUTHOR, 100, following=False)
    await store.settle(user, 101)
    assert await store.read_home(user, None) == HomeWindow(None)


async def test_odd_ids_keep_order_and_authors(store: RedisTimelineStore, user: int) -> None:
    """Ids of every magnitude, with zero bytes, and equal in either half, are told apart and ordered as unsigned numbers."""
    await ready(store, user)
    for post_id in random.Random(2).sample(ODD_IDS, len(ODD_IDS)) * 2:  # noqa: S311  # a shuffle that is the same every time
        await store.push_home(Entry(post_id, MAX_ID - post_id), [user])
    window = await window_of(store, user)
    assert list(window.post_ids) == ODD_IDS
    assert list(window.author_ids) == [MAX_ID - post_id for post_id in ODD_IDS]


async def test_odd_ids_are_merged_in_order(store: RedisTimelineStore, user: int) -> None:
    """Merging orders them likewise, and takes none twice."""
    await ready(store, user, *ODD_IDS[::2])
    await store.add_home(user, [Entry(post_id, AUTHOR) for post_id in ODD_IDS[::3]], 0)
    assert await ids_of(store, user) == sorted({*ODD_IDS[::2], *ODD_IDS[::3]})


@pytest.mark.parametrize("gone", ODD_IDS)
async def test_hiding_one_odd_author_hides_no_other(store: RedisTimelineStore, user: int, gone: int) -> None:
    """An author is known by all eight bytes of the id."""
    await store.begin_home(user)
    entries = [Entry(number, author) for number, author in enumerate(ODD_IDS, start=1)]
    await complete(store, user, entries, 0)
    await store.note_follow(user, gone, MAX_ID, following=False)
    assert list((await window_of(store, user)).author_ids) == [author for author in ODD_IDS if author != gone]
    assert (await store.read_home(user, None)).hidden == {gone}


@pytest.mark.parametrize("user_id", [2**63, MAX_ID])
async def test_users_with_large_ids_have_timelines(store: RedisTimelineStore, redis: Redis, user_id: int) -> None:
    """A user's id may be any unsigned 64-bit number."""
    await ready(store, user_id, 10)
    assert await store.push_home(Entry(MAX_ID, AUTHOR), [user_id]) == 1
    assert await ids_of(store, user_id) == [10, MAX_ID]
    await redis.delete(home_key(user_id))


@pytest.mark.parametrize("by_merge", [False, True])
async def test_an_entry_costs_at_most_twenty_bytes(store: RedisTimelineStore, redis: Redis, user: int, by_merge: bool) -> None:  # noqa: FBT001
    """The server's memory for a timeline of 800 entries is at most 20 bytes an entry, however it was built."""
    await ready(store, user, *(range(1, HOME_CAP + 1) if by_merge else ()))
    if not by_merge:
        for post_id in range(1, HOME_CAP + 1):
            await store.push_home(Entry(post_id, AUTHOR), [user])
    assert len(await ids_of(store, user)) == HOME_CAP
    used = await redis.memory_usage(home_key(user), samples=0)
    assert used is not None
    assert used <= 20 * HOME_CAP


async def test_a_page_is_one_round_trip(server: str, store: RedisTimelineStore, user: int) -> None:
    """A page's entries and the follow changes come by one exchange over the socket; so does a push to 2,000 users, and a merge."""
    await ready(store, user, *range(1, HOME_CAP + 1))
    async with wire_to(server) as (wire, url), open_redis(url) as counted:
        await counted.read_home(user, 20)
        counts = []
        for call in (
            lambda: counted.read_home(user, 20),
            lambda: counted.read_home(user, None),
            lambda: counted.push_home(Entry(HOME_CAP + 1, AUTHOR), [user, *range(10**15, 10**15 + 2_000)]),
            lambda: counted.add_home(user, [Entry(HOME_CAP + 2, AUTHOR)], 0),
            lambda: counted.read_authors(list(range(10**15, 10**15 + 300))),
        ):
            wire.round_trips = 0
            await call()
            counts.append(wire.round_trips)
    assert counts == [1] * 5


async def test_scripts_survive_being_flushed(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A server that forgot the scripts, as after a restart, gets them again, for every kind of change."""
    await redis.script_flush()
    await ready(store, user, 10)
    await redis.script_flush()
    await store.push_home(Entry(20, AUTHOR), [user])
    await redis.script_flush()
    await store.note_follow(user, OTHER, 100, following=False)
    await redis.script_flush()
    await store.settle(user, 101)
    await redis.script_flush()
    await store.push_author(Entry(20, AUTHOR))
    assert await store.read_home(user, None) == HomeWindow(Window(State.READY, 0, (10, 20), (AUTHOR, AUTHOR), whole=True))


async def test_a_failing_server_is_unavailable(tmp_path: Path) -> None:
    """Where nobody listens, every method says so in our own words."""
    async with open_redis(f"unix://{tmp_path}/nobody") as store:
        for call in (
            store.read_home(1, 20),
            store.push_home(Entry(1, 2), [1]),
            store.begin_home(1),
            store.complete_home(1, b"abc", [], 0),
            store.add_home(1, [], 0),
            store.note_follow(1, 2, 3, following=True),
            store.settle(1, 2),
            store.read_authors([1]),
            store.push_author(Entry(1, 2)),
            store.begin_authors([1]),
            store.complete_authors({1: b"abc"}, {1: [2]}, complete_below=100),
        ):
            with pytest.raises(UnavailableError):
                await call


async def test_a_silent_server_is_unavailable_within_the_deadline(server: str, user: int) -> None:
    """A server that takes commands and never answers is given up after the deadline, not after several."""
    async with wire_to(server) as (wire, url), open_redis(url, seconds=0.5) as store:
        await store.read_home(user, 20)
        wire.silent = True
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            await store.read_home(user, 20)
        assert 0.4 < time.monotonic() - started < 1.0
        wire.silent = False
        assert (await store.read_home(user, 20)).window is None


async def test_many_reads_at_once_all_answer(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """More reads at once than there are connections wait for one; the server is not away."""
    homes = await asyncio.gather(*(store.read_home(next(users), 20) for _ in range(300)), return_exceptions=True)
    assert [home for home in homes if home != HomeWindow(None)] == []


async def test_recent_posts_are_only_read_when_ready(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """An author's recent posts are missing, then take pushes, then are ready with all of it."""
    missing, begun, merged = (next(users) for _ in range(3))
    for author in (missing, begun, merged):
        await store.push_author(Entry(10, author))
    begun_now = await store.begin_authors([begun, merged])
    for author in (begun, merged):
        await store.push_author(Entry(20, author))
    generations = {merged: begun_now[merged], missing: b"abc"}
    await store.complete_authors(generations, {merged: [30, 10], missing: [10]}, complete_below=100)
    windows = await store.read_authors([missing, begun, merged])
    assert windows == {merged: Window(State.READY, 0, (10, 20, 30), (merged,) * 3, whole=True)}
    assert await store.read_authors([]) == {}


async def test_recent_posts_know_how_far_down_they_go(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """Fewer posts than were asked for are all; else the floor is the last; and the cap keeps the newest."""
    few, many = next(users), next(users)
    begun_now = await store.begin_authors([few, many])
    newest_first = list(range(AUTHOR_CAP, 0, -1))
    await store.complete_authors(begun_now, {few: newest_first[1:], many: newest_first}, complete_below=AUTHOR_CAP)
    windows = await store.read_authors([few, many])
    assert (windows[few].floor, windows[many].floor) == (0, 1)
    for post_id in range(AUTHOR_CAP + 1, AUTHOR_CAP + 2 * SLACK):
        await store.push_author(Entry(post_id, many))
        window = (await store.read_authors([many]))[many]
        assert list(window.post_ids) == list(range(window.floor, post_id + 1))
        assert len(window.post_ids) <= AUTHOR_CAP + SLACK


async def test_what_is_kept_is_not_kept_for_ever(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """Timelines, recent posts and follow changes expire, also after they were written whole; a read puts it off."""
    await ready(store, user, 10, 20)
    await store.push_home(Entry(15, AUTHOR), [user])
    await store.note_follow(user, OTHER, 100, following=False)
    begun_now = await store.begin_authors([user])
    await store.complete_authors(begun_now, {user: [10]}, complete_below=100)
    for key in (home_key(user), follow_changes_key(user), author_key(user)):
        assert await redis.ttl(key) > 0
    await redis.expire(home_key(user), 100)
    await store.read_home(user, 20)
    assert await redis.ttl(home_key(user)) > 100
