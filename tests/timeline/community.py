"""Random lives of a small community whose authors turn to pull and back, with a feed that is compared with the truth."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from redis.asyncio import Redis, RedisCluster

from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from tests.timeline.home import Gate, Home, World
from tests.timeline.turning import Mode, Turning
from timeline_svc.packed import Entry
from timeline_svc.redis_store import RedisTimelineStore, author_key, home_key, segment_key, sources_key
from timeline_svc.segment import Segment

USERS = st.integers(0, 3)
SIZES = st.sampled_from([1, 2, 3, 5, 8, 20])
NUMBERS = st.integers(0, 30)
KEYS = [home_key, sources_key, author_key, segment_key]
HELD = st.sampled_from(["left", "followees", "turned", "by_authors", "is_followee"])


@dataclass
class Late:
    """A post that is not delivered yet, and to whom it has to be pushed once that is planned."""

    author: int
    followers: list[int] | None = None


@dataclass(frozen=True)
class Change:
    """An edge that changed, and of which the timelines are not told yet."""

    viewer: int
    author: int
    version: int
    came: bool


@dataclass
class Held:
    """What another process is in the midst of; maybe applying a change."""

    gate: Gate
    task: asyncio.Future[Any]
    change: Change | None


class CommunityMachine(RuleBasedStateMachine):
    """Lives of four users. Deliveries, turns and changes may be late, anything may be lost; what is shown has to be the truth.

    A second process, over the same store, may be held in the midst of a read or of a change while life goes on.
    """

    def __init__(
        self, store: RedisTimelineStore, redis: Redis | RedisCluster, run: Callable[[Awaitable[Any]], Any], users: Iterator[int]
    ) -> None:
        super().__init__()
        clock = count(now_ms())
        self.home = Home(store, World(), users, IdGenerator(0, lambda: next(clock)))
        self.other = Home(store, self.home.world, users, self.home.ids)
        self.world = self.home.world
        self.turning = Turning(self.home)
        self.redis = redis
        self.run = run
        self.users = [next(users) for _ in range(4)]
        self.late: dict[int, Late] = {}
        self.changes: list[Change] = []
        self.hides: list[Change] = []
        self.jobs: list[AsyncIterator[None]] = []
        self.held: Held | None = None

    @initialize(
        following=st.lists(st.sets(USERS, min_size=1), min_size=4, max_size=4),
        posts=st.lists(USERS, min_size=10, max_size=40),
        pulled=st.sets(USERS, max_size=3),
    )
    def begin(self, following: list[set[int]], posts: list[int], pulled: set[int]) -> None:
        """Begin with some who follow each other, have written before there were timelines, or have many followers."""
        for viewer, authors in zip(self.users, following, strict=True):
            self.world.edges[viewer].update(self.users[author] for author in authors if self.users[author] != viewer)
        for author in posts:
            self.turning.commit(self.users[author])
        for author in pulled:
            self.run(self.turning.pull(self.users[author]))

    @rule(author=USERS, number=st.integers(1, 12))
    def publish(self, author: int, number: int) -> None:
        """Write posts that are delivered at once."""
        for _ in range(number):
            self.run(self.turning.publish(self.users[author]))

    @rule(author=USERS)
    def commit(self, author: int) -> None:
        """Write a post whose delivery is late."""
        self.late[self.turning.commit(self.users[author])] = Late(self.users[author])

    @precondition(lambda self: self.late)
    @rule(number=NUMBERS, twice=st.booleans())
    def deliver(self, number: int, *, twice: bool) -> None:
        """Plan one of the late posts, or push one that is planned; in any order, maybe once more."""
        post_id = sorted(self.late)[number % len(self.late)]
        late = self.late[post_id]
        if late.followers is None or twice:
            late.followers = self.run(self.turning.plan(post_id, late.author))
        else:
            self.run(self.home.delivery.push(Entry(post_id, late.author), late.followers))
            del self.late[post_id]
            self.lose_segments(post_id)

    @rule(author=USERS, at_once=st.booleans())
    def turn(self, author: int, *, at_once: bool) -> None:
        """Turn an author to pull, which is a job, maybe done at once; or back."""
        if self.turning.modes[self.users[author]] is not Mode.PUSH:
            self.turning.to_push(self.users[author])
        elif at_once:
            self.run(self.turning.pull(self.users[author]))
        else:
            self.jobs.append(self.turning.to_pull(self.users[author], parts=2))

    @precondition(lambda self: self.jobs)
    @rule(number=NUMBERS, steps=st.integers(1, 5))
    def work(self, number: int, steps: int) -> None:
        """Do some steps of one of the jobs."""
        job = self.jobs[number % len(self.jobs)]
        for _ in range(steps):
            if self.run(anext(job, self.jobs)) is self.jobs:
                self.jobs.remove(job)
                break

    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        """Delete some post."""
        if self.world.posts:
            post_id = sorted(self.world.posts, reverse=True)[number % len(self.world.posts)]
            self.home.delete(post_id)
            self.other.cache.changed(post_id, 2)

    @rule(viewer=USERS, other=st.integers(1, 3), late=st.booleans())
    def change(self, viewer: int, other: int, *, late: bool) -> None:
        """Follow or unfollow; timelines are told at once, or later. Who is unfollowed is hidden before the answer in any case."""
        follower, followee = self.users[viewer], self.users[(viewer + other) % 4]
        came = followee not in self.world.edges[follower]
        version = self.home.ids.next()
        if came:
            self.world.edges[follower].add(followee)
            # The graph tells of the last change of whoever left lately.
            self.world.left_at[follower] |= {followee: version} if followee in self.world.left_at[follower] else {}
        else:
            self.world.edges[follower].remove(followee)
            self.world.left_at[follower][followee] = version
            self.run(self.home.changes.hide(follower, followee, version))
            self.hides.append(Change(follower, followee, version, came))
        self.changes.append(Change(follower, followee, version, came))
        if not late:
            self.apply(-1)

    @precondition(lambda self: self.changes)
    @rule(number=NUMBERS)
    def apply(self, number: int) -> None:
        """Tell timelines of a change, in any order."""
        change = self.changes.pop(number % len(self.changes))
        self.run(self.home.changes.apply(change.viewer, change.author, change.version, came=change.came))

    @precondition(lambda self: self.hides)
    @rule(number=NUMBERS)
    def hide_again(self, number: int) -> None:
        """Repeat a call that hides an author, who may be back."""
        hide = self.hides.pop(number % len(self.hides))
        self.run(self.home.changes.hide(hide.viewer, hide.author, hide.version))

    @precondition(lambda self: not self.held)
    @rule(method=HELD, viewer=USERS, size=SIZES, number=NUMBERS)
    def hold_a_read(self, method: str, viewer: int, size: int, number: int) -> None:
        """Have the other process stop in the midst of a read, from the top or from somewhere on."""
        before = sorted(self.world.posts, reverse=True)[number - 1] if 0 < number <= len(self.world.posts) else None
        self.hold(method, self.other.page(self.users[viewer], size, before), None)

    @precondition(lambda self: not self.held and self.changes)
    @rule(method=HELD, number=NUMBERS)
    def hold_a_change(self, method: str, number: int) -> None:
        """Have the other process stop while it applies a change."""
        change = self.changes.pop(number % len(self.changes))
        applying = self.other.changes.apply(change.viewer, change.author, change.version, came=change.came)
        self.hold(method, applying, change)

    def hold(self, method: str, doing: Awaitable[Any], change: Change | None) -> None:
        """Do something until it has called a method, if it does."""
        # Nobody else comes to the gate.
        self.look_ahead()
        gate = self.world.gate(method)

        async def begun() -> asyncio.Future[Any]:
            task = asyncio.ensure_future(doing)
            reached = asyncio.ensure_future(gate.reached.wait())
            await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            return task

        self.held = Held(gate, self.run(begun()), change)
        if not gate.reached.is_set():
            self.world.remove_gate(method)
            self.release()

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        """Let the other process go on and finish."""
        assert self.held
        self.held.gate.open()
        self.run(self.held.task)
        self.held = None
        self.lose_segments(0)

    def lose_segments(self, late: int) -> None:
        """Let two minutes pass: until then, what was put together to be read further down may lack a post that came so late."""
        self.look_ahead()
        for user in self.users:
            segment = self.run(self.home.store.read_home(user, None)).segment
            if segment and late < segment.upper:
                self.run(self.redis.delete(segment_key(user)))

    def look_ahead(self) -> None:
        """Finish what is put together in the background, unless it is held."""
        for home in [self.home] if self.held else [self.home, self.other]:
            for user in self.users:
                self.run(asyncio.wait(home.segments.start([user], _nothing)))

    @rule()
    def settle(self) -> None:
        """Let hours pass in which all that was late arrives, and nothing happens."""
        if self.held:
            self.release()
        while self.late:
            self.deliver(0, twice=False)
        while self.changes:
            self.apply(0)
        while self.jobs:
            self.work(0, 5)
        for user in self.users:
            self.run(self.home.store.settle(user, self.home.ids.next()))
        self.lose_segments(0)
        self.world.left_at.clear()
        self.hides.clear()

    @rule(user=USERS, key=st.sampled_from(KEYS), everything=st.sampled_from([False] * 9 + [True]))
    def lose(self, user: int, key: Callable[[int], str], *, everything: bool) -> None:
        """Lose something of somebody, or all that there is."""
        users, keys = (self.users, KEYS) if everything else ([self.users[user]], [key])
        for each in users:
            for kind in keys:
                self.run(self.redis.delete(kind(each)))

    @rule(size=SIZES)
    def walk_all(self, size: int) -> None:
        """Read all feeds."""
        for viewer in range(4):
            self.walk(viewer, size)

    @rule(viewer=USERS, size=SIZES)
    def walk(self, viewer: int, size: int) -> None:
        """Read a feed to its end: what is delivered must be shown, what is late may be, and nothing else."""
        shown = self.run(self.home.walk(self.users[viewer], size))
        assert shown == self.feed_of(self.users[viewer], shown)

    @rule(viewer=USERS, size=SIZES, number=NUMBERS)
    def page(self, viewer: int, size: int, number: int) -> None:
        """Read a page from somewhere on, with an old token: it is full, or the end."""
        ids = sorted(self.world.posts, reverse=True)
        if ids:
            before = ids[number % len(ids)]
            shown, last = self.run(self.home.page(self.users[viewer], size, before))
            expected = [post_id for post_id in self.feed_of(self.users[viewer], shown) if post_id < before]
            assert shown == expected[:size]
            assert last == (shown[-1] if last or len(expected) > size else None)

    def feed_of(self, viewer: int, shown: list[int]) -> list[int]:
        """Give what a feed has to be; of what is late, only what was shown."""
        changes = [*self.changes, self.held.change] if self.held and self.held.change else self.changes
        coming = {change.author for change in changes if change.viewer == viewer and change.came}
        optional = {post_id for post_id, post in self.world.posts.items() if post_id in self.late or post.user_id in coming}
        return [post_id for post_id in self.world.feed_of(viewer) if post_id not in optional or post_id in set(shown)]

    def teardown(self) -> None:
        """Compare every feed once all is told."""
        self.settle()
        self.walk_all(20)
        self.look_ahead()


async def _nothing(_users: list[int]) -> Segment:
    return Segment(bytes(7), 0, 0, (), ())
