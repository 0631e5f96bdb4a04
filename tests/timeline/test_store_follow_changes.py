"""What every server that keeps timelines has to do with follows and unfollows."""

import pytest
from redis.asyncio import Redis

from tests.timeline.home import complete
from tests.timeline.windows import AUTHOR, OTHER, ids_of, ready
from timeline_svc.packed import Entry
from timeline_svc.ports import HomeWindow
from timeline_svc.redis_store import RedisTimelineStore, follow_changes_key, home_key


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
