"""What follows and unfollows do to a home feed over the real store."""

from redis.asyncio import Redis

from meshkit.clock import now_ms
from meshkit.ids import first_id_at
from tests.timeline.home import Home, fill
from timeline_svc.home_timelines import SETTLED_AFTER_MS
from timeline_svc.packed import Entry
from timeline_svc.redis_store import RedisTimelineStore, sources_key


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


async def test_an_old_change_is_checked_with_the_graph(home: Home, store: RedisTimelineStore) -> None:
    """A change that comes so late that newer ones may be forgotten is only applied if the edge still stands so."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, 20)
    await home.page(viewer)
    old = first_id_at(now_ms() - SETTLED_AFTER_MS)
    await home.changes.apply(viewer, authors[0], old, came=False)
    assert await home.walk(viewer) == ids[::-1]
    await home.unfollow(viewer, authors[1])
    await store.settle(viewer, home.ids.next())
    await home.changes.apply(viewer, authors[1], old, came=True)
    assert await home.walk(viewer) == home.world.feed_of(viewer)


async def test_a_read_settles_old_changes(home: Home, store: RedisTimelineStore, redis: Redis) -> None:
    """A read forgets changes that are over an hour old, with what they hid, and keeps newer ones."""
    viewer, authors = home.community(3)
    ids = fill(home, authors, 9)
    await home.page(viewer)
    old, recent = first_id_at(now_ms() - SETTLED_AFTER_MS - 60_000), first_id_at(now_ms() - SETTLED_AFTER_MS + 600_000)
    for author, version in ((authors[0], old), (authors[1], recent)):
        home.world.edges[viewer].discard(author)
        await store.note_source(viewer, author, version, came=False)
        await store.push_home(Entry(home.commit(author), author), [viewer])
    expected = [post_id for post_id in reversed(ids) if home.world.posts[post_id].user_id == authors[2]]
    for _ in range(2):
        assert await home.page(viewer) == (expected, None)
    # The record stands beside the change that is left.
    assert await redis.hlen(sources_key(viewer)) == 2
    left = (await store.read_home(viewer, None)).window
    assert left is not None
    assert set(left.author_ids) == {authors[1], authors[2]}
