"""What takes an author out of a feed is answered when it holds there: docs/adr/0012, over gRPC."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest
from feed.event.v1 import event_pb2

from meshkit.queue.memory import MemoryQueue
from meshkit.topics import FOLLOW_CHANGED
from tests.rpc.client import PATIENCE, refused, task_of
from tests.rpc.conftest import People
from tests.rpc.feeds import Feeds
from tests.rpc.follow_calls import Graph
from tests.rpc.inbox import Inbox

CODE = grpc.StatusCode
# How bob's posts go out of ada's feed: by ada, or by bob.
Loss = Callable[..., Awaitable[None]]


async def unfollow(follows: Graph, ada: int, bob: int, **more: str) -> None:
    """Unfollow."""
    await follows.unfollow(ada, bob, **more)  # type: ignore[arg-type]  # only a request id


async def removal(follows: Graph, ada: int, bob: int, **more: str) -> None:
    """Be removed."""
    await follows.remove_follower(bob, ada, **more)


async def mute(follows: Graph, ada: int, bob: int, **more: str) -> None:
    """Mute."""
    await follows.mute(ada, bob, **more)


async def block(follows: Graph, ada: int, bob: int, **more: str) -> None:
    """Block."""
    await follows.block(ada, bob, **more)


async def being_blocked(follows: Graph, ada: int, bob: int, **more: str) -> None:
    """Be blocked."""
    await follows.block(bob, ada, **more)


LOSSES = pytest.mark.parametrize("lose", [unfollow, removal, mute, block, being_blocked])


@LOSSES
async def test_the_answer_waits_for_the_feed(follows: Graph, people: People, feeds: Feeds, lose: Loss) -> None:
    """Nothing is answered before the feed has let the author go; by then the change is made."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    feeds.let_through.clear()
    async with task_of(lose(follows, ada, bob)) as losing, asyncio.timeout(PATIENCE):
        await feeds.called.wait()
        assert not (await follows.relation(ada, bob)).in_feed
        assert not losing.done()
        feeds.let_through.set()
        await losing
    assert set(feeds.versions) == {(ada, bob)}


@LOSSES
async def test_a_feed_that_does_not_answer_is_told_again(follows: Graph, people: People, feeds: Feeds, lose: Loss) -> None:
    """A change whose feed is away is kept and answered UNAVAILABLE; a repeat, with or without its id, tells the feed again."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    feeds.away = True
    for request_id in ("r-1", "r-1", ""):
        with refused(CODE.UNAVAILABLE, "NOT_IN_EFFECT"):
            await lose(follows, ada, bob, request_id=request_id)
        assert not (await follows.relation(ada, bob)).in_feed
    assert not feeds.versions
    feeds.away = False
    for request_id in ("r-1", ""):
        feeds.versions.clear()
        await lose(follows, ada, bob, request_id=request_id)
        assert set(feeds.versions) == {(ada, bob)}


@LOSSES
async def test_the_feed_is_told_the_version_of_the_change(
    follows: Graph, people: People, feeds: Feeds, queue: MemoryQueue, lose: Loss
) -> None:
    """The feed is told the version of the event, first and in repeats; what comes back has a larger one."""
    ada, bob = await people.ids(2)
    inbox = Inbox()
    async with queue.work("test", [FOLLOW_CHANGED], inbox, concurrency=1):
        await follows.follow(ada, bob)
        for _ in range(2):
            await lose(follows, ada, bob)
        hidden = feeds.versions[ada, bob]
        await follows.unblock(ada, bob)
        await follows.unblock(bob, ada)
        await follows.follow(ada, bob)
        await follows.unmute(ada, bob)
        await inbox.wait_for(lambda bodies: len(bodies) >= 3)
    changes = [event_pb2.Event.FromString(body).follow_changed for body in inbox.bodies]
    changes.sort(key=lambda change: change.edge_version)
    assert [change.following for change in changes] == [True, False, True]
    assert changes[1].edge_version == hidden
    assert feeds.versions == {(ada, bob): hidden}


@LOSSES
async def test_what_came_back_is_not_hidden(follows: Graph, people: People, feeds: Feeds, lose: Loss) -> None:
    """A repeat of a change that was undone since neither undoes that, nor tells the feed anything."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    await lose(follows, ada, bob, request_id="r-1")
    for one, other in ((ada, bob), (bob, ada)):
        await follows.unblock(one, other)
    await follows.unmute(ada, bob)
    await follows.follow(ada, bob)
    feeds.calls = 0
    await lose(follows, ada, bob, request_id="r-1")
    assert feeds.calls == 0
    assert (await follows.relation(ada, bob)).in_feed


async def test_a_block_tells_both_feeds(follows: Graph, people: People, feeds: Feeds) -> None:
    """Where both followed, both feeds lose somebody; neither answer is given while one of them is away."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    await follows.follow(bob, ada)
    feeds.away = True
    with refused(CODE.UNAVAILABLE, "NOT_IN_EFFECT"):
        await follows.block(ada, bob)
    feeds.away = False
    await follows.block(ada, bob)
    assert set(feeds.versions) == {(ada, bob), (bob, ada)}


async def test_a_muted_edge_that_ends_hides_on(follows: Graph, people: People, feeds: Feeds) -> None:
    """An unfollow of somebody muted tells the feed again: the mute's own call may have failed."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    feeds.away = True
    with refused(CODE.UNAVAILABLE, "NOT_IN_EFFECT"):
        await follows.mute(ada, bob)
    feeds.away = False
    await follows.unfollow(ada, bob)
    assert set(feeds.versions) == {(ada, bob)}


async def test_where_nothing_is_lost_no_feed_is_asked(follows: Graph, people: People, feeds: Feeds) -> None:
    """What brings posts, or changes no feed, is answered though feeds are away."""
    ada, bob, eve = await people.ids(3)
    feeds.away = True
    await follows.unfollow(ada, bob)
    await follows.mute(ada, bob)
    await follows.unmute(ada, bob)
    await follows.follow(ada, bob)
    await follows.follow(ada, bob)
    await follows.block(ada, eve)
    await follows.unblock(ada, eve)
    await follows.set_private(bob, private=True)
    assert feeds.calls == 0


async def test_feeds_that_hang_end_the_wait(follows: Graph, people: People, feeds: Feeds) -> None:
    """A feed that never answers costs two seconds, and then the change is known to be kept."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    feeds.let_through.clear()
    async with asyncio.timeout(PATIENCE):
        with refused(CODE.UNAVAILABLE, "NOT_IN_EFFECT"):
            await follows.unfollow(ada, bob)
    assert not await follows.is_following(ada, bob)


async def test_who_left_a_feed_lately_is_listed(follows: Graph, people: People, feeds: Feeds) -> None:
    """Whoever is told to a feed as gone is listed with that version, in slices by id; who is back, with the larger one of that."""
    ada, *authors = await people.ids(6)
    for author in authors:
        await follows.follow(ada, author)
    assert await follows.left(ada) == {}
    for author, lose in zip(authors, (unfollow, removal, mute, block, being_blocked), strict=True):
        await lose(follows, ada, author)
    gone = {author: feeds.versions[ada, author] for author in authors}
    assert await follows.left(ada) == gone
    assert list(await follows.left(ada, limit=2)) == authors[:2]
    assert list(await follows.left(ada, after=authors[1], limit=2)) == authors[2:4]
    assert await follows.left(ada, after=authors[-1]) == await follows.left(authors[0]) == {}
    await follows.follow(ada, authors[0])
    await follows.unmute(ada, authors[2])
    listed = await follows.left(ada)
    assert listed[authors[0]] == (await follows.relation(ada, authors[0])).follow_id > gone[authors[0]]
    assert listed[authors[2]] > gone[authors[2]]
    assert {author: listed[author] for author in (authors[1], *authors[3:])}.items() <= gone.items()
