"""Changes of a feed's sources that arrive late, and reads that take long."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NoReturn, cast

from redis.asyncio import Redis, RedisCluster

from meshkit.clock import now_ms
from meshkit.errors import UnavailableError
from tests.timeline.home import Gate, Home, World, fill
from timeline_svc.packed import Entry
from timeline_svc.ports import STORE_AWAY, Turned
from timeline_svc.redis_store import RedisTimelineStore, author_key, home_key, sources_key

SLOW_SECONDS = 0.6


def another(home: Home) -> Home:
    """Give another process over the same store and world: it has nothing in memory."""
    return Home(home.store, home.world, home.users)


async def come_back(home: Home, viewer: int, author: int) -> None:
    """Let a viewer follow an author again, of whom the graph knows an earlier change."""
    home.world.left_at[viewer][author] = await home.follow(viewer, author)


async def test_an_old_hide_takes_nobody_away_who_came_back(home: Home) -> None:
    """A hide that is held up until its author came back, and the timeline was made, hides nothing."""
    viewer, authors = home.community(2)
    posts = [home.commit(author) for author in authors]
    gone = home.ids.next()
    await come_back(home, viewer, authors[0])
    assert await home.walk(viewer) == posts[::-1]
    await home.changes.hide(viewer, authors[0], gone)
    assert await home.walk(viewer) == posts[::-1]


async def test_an_old_event_takes_nobody_away_who_came_back(home: Home) -> None:
    """An event that is held up between its look at the graph and its note hides nobody who came back meanwhile."""
    viewer, authors = home.community(2)
    posts = [home.commit(author) for author in authors]
    home.world.edges[viewer].discard(authors[0])
    gate = home.world.gate("is_followee")
    late = asyncio.create_task(home.changes.apply(viewer, authors[0], home.ids.next(), came=False))
    await gate.reached.wait()
    await come_back(home, viewer, authors[0])
    assert await home.walk(viewer) == posts[::-1]
    gate.open()
    await late
    assert await home.walk(viewer) == posts[::-1]


async def test_an_old_hide_takes_no_mark_away(home: Home, redis: Redis | RedisCluster) -> None:
    """A pulled author who came back before the timeline was lost stays pulled, whatever older change arrives."""
    viewer, authors = home.community(1)
    home.world.turns[authors[0]] = Turned(authors[0], 1, now_ms(), pushed=False)
    await home.page(viewer)
    gone = home.ids.next()
    await come_back(home, viewer, authors[0])
    await redis.unlink(home_key(viewer), sources_key(viewer))
    assert await home.walk(viewer) == []
    await home.changes.hide(viewer, authors[0], gone)
    await home.store.settle(viewer, home.ids.next())
    post = home.commit(authors[0])
    await home.delivery.push_own([Entry(post, authors[0])])
    assert await another(home).walk(viewer) == [post]


async def test_a_post_that_was_seen_in_parts_shows_when_it_is_whole(home: Home) -> None:
    """That a young post was not there when its author's list had it already is not believed later."""
    viewer, authors = home.community(1)
    post = home.commit(authors[0])
    half = home.world.posts.pop(post)
    assert await home.page(viewer) == ([], None)
    home.world.posts[post] = half
    await home.deliver(post, authors[0])
    assert await home.walk(viewer) == [post]


class SlowWorld(World):
    """A world whose posts may be slow to be looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Gate | None = None

    async def by_authors(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> dict[int, Sequence[int]]:
        """Give each author's newest posts, as they are when the gate opens."""
        if self.before:
            await self.before.hold()
        return await super().by_authors(author_ids, before=before, limit=limit)


class LateWorld(World):
    """A world that may be slow to be asked who left."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Gate | None = None

    async def left(self, user_id: int) -> dict[int, int]:
        """Give whom a user unfollowed, as it is when the gate opens."""
        if self.before:
            await self.before.hold()
        return await super().left(user_id)


async def test_who_leaves_between_the_answers_that_a_rebuild_asks_for_is_gone(
    store: RedisTimelineStore, users: Iterator[int]
) -> None:
    """An author who is among the followees that a rebuild was told, and unfollowed before it is told who left, is not back."""
    world = LateWorld()
    home = Home(store, world, users)
    viewer, authors = home.community(2)
    ids = fill(home, authors, 6)
    gate = world.before = Gate()
    read = asyncio.create_task(home.page(viewer))
    await gate.reached.wait()
    await home.unfollow(viewer, authors[0])
    gate.open()
    await read
    assert await home.walk(viewer) == [post_id for post_id in reversed(ids) if world.posts[post_id].user_id == authors[1]]
    assert world.calls["followees"] == 2


async def test_who_comes_back_between_the_answers_that_a_rebuild_asks_for_is_back(
    store: RedisTimelineStore, users: Iterator[int]
) -> None:
    """An author who is not yet among the followees that a rebuild was told, and is back before it is told who left, is shown."""
    world = LateWorld()
    home = Home(store, world, users)
    viewer, authors = home.community(2)
    ids = fill(home, authors, 6)
    world.edges[viewer].discard(authors[0])
    gate = world.before = Gate()
    read = asyncio.create_task(home.page(viewer))
    await gate.reached.wait()
    await come_back(home, viewer, authors[0])
    gate.open()
    await read
    assert await home.walk(viewer) == ids[::-1]


async def test_a_long_read_does_not_show_what_an_author_wrote_after_leaving(
    store: RedisTimelineStore, users: Iterator[int], redis: Redis | RedisCluster
) -> None:
    """A read that began before an unfollow, and takes long, does not show what the pulled author posted after its answer."""
    world = SlowWorld()
    home = Home(store, world, users)
    viewer, authors = home.community(1)
    world.turns[authors[0]] = Turned(authors[0], 1, now_ms(), pushed=False)
    await home.page(viewer)
    await redis.unlink(author_key(authors[0]))
    gate = world.before = Gate()
    read = asyncio.create_task(another(home).page(viewer))
    await gate.reached.wait()
    await home.unfollow(viewer, authors[0])
    home.commit(authors[0])
    asyncio.get_running_loop().call_later(SLOW_SECONDS, gate.open)
    assert await read == ([], None)


class Away:
    """A store that does not answer this process."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[NoReturn]]:
        async def fail(*_: object, **__: object) -> NoReturn:
            raise UnavailableError(f"{name}: nobody there", reason=STORE_AWAY)

        return fail


async def test_a_long_read_of_the_tables_does_not_show_what_was_written_after_leaving(home: Home) -> None:
    """Where timelines are away, a slow read shows nothing of an author who was left meanwhile, and goes on with others below."""
    viewer, authors = home.community(2)
    ids = fill(home, authors, 12)
    cut_off = Home(cast("RedisTimelineStore", Away()), home.world, home.users)
    gate = home.world.gate("followees")
    read = asyncio.create_task(cut_off.page(viewer, size=3))
    await gate.reached.wait()
    await home.unfollow(viewer, authors[0])
    for _ in range(5):
        home.commit(authors[0])
    asyncio.get_running_loop().call_later(SLOW_SECONDS, gate.open)
    others = [post_id for post_id in reversed(ids) if home.world.posts[post_id].user_id == authors[1]]
    assert await read == (others[:3], others[2])


async def test_posts_that_are_slow_to_load_are_not_shown_when_their_author_was_left_meanwhile(home: Home) -> None:
    """An unfollow that is answered while a page waits for its posts holds for that page."""
    viewer, authors = home.community(1)
    home.commit(authors[0])
    await home.page(viewer)
    gate = home.world.gate("lookup")
    read = asyncio.create_task(another(home).page(viewer))
    await gate.reached.wait()
    await home.unfollow(viewer, authors[0])
    asyncio.get_running_loop().call_later(SLOW_SECONDS, gate.open)
    assert await read == ([], None)


async def test_hundreds_of_deleted_posts_are_passed_over_in_few_steps(home: Home) -> None:
    """A page below hundreds of deleted posts is full, and asks for posts a few times only."""
    viewer, authors = home.community(2)
    old = [home.commit(authors[1]) for _ in range(30)]
    gone = [home.commit(authors[0]) for _ in range(700)]
    new = [home.commit(authors[1]) for _ in range(15)]
    await home.page(viewer)
    for post in gone:
        home.delete(post)
    home.world.calls.clear()
    shown, _ = await another(home).page(viewer, 20)
    assert shown == [*new[::-1], *old[::-1][:5]]
    assert home.world.calls["lookup"] < 10
