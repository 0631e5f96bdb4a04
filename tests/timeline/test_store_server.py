"""What every server that keeps timelines costs in memory and round trips, and what happens when it restarts or does not answer."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from meshkit.errors import UnavailableError
from tests.timeline.servers import everywhere, patient_store
from tests.timeline.windows import AUTHOR, NONE, OTHER, ids_of, ready, segment_of
from tests.timeline.wire import wire_to
from timeline_svc.packed import Entry
from timeline_svc.redis_store import HOME_CAP, RedisTimelineStore, author_key, home_key, open_redis, segment_key, sources_key
from timeline_svc.segment import Segment


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


async def test_what_is_kept_is_not_kept_for_ever(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """Timelines, what stands beside and below them, and recent posts expire, also when written whole; a read puts it off."""
    await ready(store, user, 10, 20)
    await store.push_home(Entry(15, AUTHOR), [user])
    await store.note_source(user, OTHER, 100, came=False)
    await store.mark_pulled(AUTHOR, 1, [user])
    await store.keep_segment(user, segment_of(await store.read_home(user, None), 10, 5))
    begun_now = await store.begin_authors([user])
    await store.complete_authors(begun_now, {user: [10]}, complete_below=100)
    for key in (home_key(user), sources_key(user), segment_key(user), author_key(user)):
        assert await redis.ttl(key) > 0
    for key in (home_key(user), sources_key(user)):
        await redis.expire(key, 100)
    await store.read_home(user, 20)
    for key in (home_key(user), sources_key(user)):
        assert await redis.ttl(key) > 100


async def test_a_page_is_one_round_trip(single: str, user: int) -> None:
    """A page's entries and the follow changes come by one exchange over the socket; so does a push to 2,000 users, and a merge."""
    async with wire_to(single) as (wire, url), patient_store(url) as counted:
        await ready(counted, user, *range(1, HOME_CAP))
        await counted.push_home(Entry(HOME_CAP, AUTHOR), [user])
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
    await everywhere(redis, "SCRIPT FLUSH")
    await ready(store, user, 10)
    await everywhere(redis, "SCRIPT FLUSH")
    await store.push_home(Entry(20, AUTHOR), [user])
    await everywhere(redis, "SCRIPT FLUSH")
    await store.note_source(user, OTHER, 100, came=False)
    await everywhere(redis, "SCRIPT FLUSH")
    await store.mark_pulled(AUTHOR, 1, [user])
    await everywhere(redis, "SCRIPT FLUSH")
    await store.unmark_pulled(user, {AUTHOR: 1})
    await everywhere(redis, "SCRIPT FLUSH")
    await store.settle(user, 101)
    await everywhere(redis, "SCRIPT FLUSH")
    await store.push_own([Entry(20, AUTHOR)])
    home = await store.read_home(user, None)
    assert (await ids_of(store, user), home.sources.marks, home.sources.oldest_change) == ([10, 20], {}, 0)


@pytest.mark.parametrize("url", ["unix:///nobody", "redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1,127.0.0.1:2"])
async def test_a_failing_server_is_unavailable(url: str) -> None:
    """Where nobody listens, every method says so in our own words."""
    async with open_redis(url) as store:
        for call in (
            store.read_home(1, 20),
            store.push_home(Entry(1, 2), [1]),
            store.begin_home(1),
            store.complete_home(1, b"abc", [], 0, marks={}, left={}),
            store.add_home(1, [], 0),
            store.note_source(1, 2, 3, came=True),
            store.mark_pulled(2, 1, [1]),
            store.unmark_pulled(1, {2: 1}),
            store.keep_segment(1, Segment(b"1234567", 2, 0, (1,), (2,))),
            store.settle(1, 2),
            store.read_authors([1]),
            store.push_own([Entry(1, 2)]),
            store.begin_authors([1]),
            store.complete_authors({1: b"abc"}, {1: [2]}, complete_below=100),
        ):
            with pytest.raises(UnavailableError):
                await call


async def test_a_silent_server_is_unavailable_within_the_deadline(single: str, users: Iterator[int]) -> None:
    """A server that takes commands and does not answer is given up after the deadline; its late answers are nobody's."""
    async with wire_to(single) as (wire, url), open_redis(url, read_seconds=0.5) as store:
        first, second = next(users), next(users)
        await ready(store, first, 10)
        await ready(store, second, 20)
        wire.fall_silent()
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            await store.read_home(first, 20)
        assert 0.4 < time.monotonic() - started < 1.0
        wire.speak()
        assert await ids_of(store, second) == [20]


async def test_many_reads_at_once_all_answer(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """More reads at once than there are connections wait for one; the server is not away."""
    homes = await asyncio.gather(*(store.read_home(next(users), 20) for _ in range(300)), return_exceptions=True)
    assert [home for home in homes if home != NONE] == []


async def test_what_cannot_be_changed_for_lack_of_memory_goes(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A server that has no memory for a change keeps no timeline without it: it is missing, and so it is read from the tables."""
    await ready(store, user, 10, 20)
    await everywhere(redis, "CONFIG SET", "maxmemory", 1)
    try:
        assert await store.push_home(Entry(30, AUTHOR), [user]) == 0
        assert (await store.read_home(user, 20)).window is None
    finally:
        await everywhere(redis, "CONFIG SET", "maxmemory", 0)
    await ready(store, user, 10, 20, 30)
    await everywhere(redis, "CONFIG SET", "maxmemory", 1)
    try:
        assert await store.note_source(user, AUTHOR, 100, came=False) is None
        assert (await store.read_home(user, 20)).window is None
    finally:
        await everywhere(redis, "CONFIG SET", "maxmemory", 0)
    await ready(store, user, 10, 20)
    await everywhere(redis, "CONFIG SET", "maxmemory", 1)
    try:
        assert await store.mark_pulled(AUTHOR, 1, [user]) == 0
        assert (await store.read_home(user, 20)).window is None
    finally:
        await everywhere(redis, "CONFIG SET", "maxmemory", 0)
