"""What every server that keeps timelines has to do with ids of any magnitude."""

import random

import pytest
from redis.asyncio import Redis

from meshkit.ids import MAX_ID
from tests.timeline.home import complete
from tests.timeline.windows import AUTHOR, ids_of, ready, window_of
from timeline_svc.packed import Entry
from timeline_svc.redis_store import RedisTimelineStore, home_key

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
    await store.note_source(user, gone, MAX_ID, came=False)
    assert list((await window_of(store, user)).author_ids) == [author for author in ODD_IDS if author != gone]
    assert (await store.read_home(user, None)).sources.hidden == {gone}


@pytest.mark.parametrize("user_id", [2**63, MAX_ID])
async def test_users_with_large_ids_have_timelines(store: RedisTimelineStore, redis: Redis, user_id: int) -> None:
    """A user's id may be any unsigned 64-bit number."""
    await ready(store, user_id, 10)
    assert await store.push_home(Entry(MAX_ID, AUTHOR), [user_id]) == 1
    assert await ids_of(store, user_id) == [10, MAX_ID]
    await redis.delete(home_key(user_id))
