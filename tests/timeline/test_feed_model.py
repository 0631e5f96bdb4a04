"""The home feed against a brute-force oracle, over random lives of a small community."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from redis.asyncio import Redis, RedisCluster

from tests.timeline.home import Home, World
from tests.timeline.servers import look_into, patient_store
from timeline_svc import delivery, feed, pull, redis_store
from timeline_svc.ports import TimelineStore
from timeline_svc.redis_store import author_key, sources_key, home_key

# So small that a short life crosses every boundary.
HOME_CAP, AUTHOR_CAP = 9, 4
USERS = st.integers(0, 3)


class CommunityMachine(RuleBasedStateMachine):
    """Lives of four users. Deliveries may be late; timelines may be lost; every walk is compared with what is true."""

    def __init__(
        self, store: TimelineStore, redis: Redis | RedisCluster, run: Callable[[Awaitable[Any]], Any], users: Iterator[int]
    ) -> None:
        super().__init__()
        self.home = Home(store, World(), users)
        self.redis = redis
        self.run = run
        self.users = [next(users) for _ in range(4)]
        self.undelivered: dict[int, int] = {}

    @rule(author=USERS, count=st.integers(1, 12))
    def publish(self, author: int, count: int) -> None:
        """Write posts that are delivered at once."""
        for _ in range(count):
            self.run(self.home.publish(self.users[author]))

    @rule(author=USERS)
    def commit(self, author: int) -> None:
        """Write a post whose delivery is late."""
        self.undelivered[self.home.commit(self.users[author])] = self.users[author]

    @rule(number=st.integers(0, 5), twice=st.booleans())
    def deliver(self, number: int, *, twice: bool) -> None:
        """Deliver one of the late posts, in any order."""
        if self.undelivered:
            post_id = sorted(self.undelivered)[number % len(self.undelivered)]
            author = self.undelivered.pop(post_id)
            for _ in range(1 + twice):
                self.run(self.home.deliver(post_id, author))

    @rule(number=st.integers(0, 30))
    def delete(self, number: int) -> None:
        """Delete some post."""
        if self.home.world.posts:
            ids = sorted(self.home.world.posts, reverse=True)
            self.home.delete(ids[number % len(ids)])

    @rule(viewer=USERS, author=USERS)
    def follow(self, viewer: int, author: int) -> None:
        """Follow."""
        if viewer != author:
            self.run(self.home.follow(self.users[viewer], self.users[author]))

    @rule(viewer=USERS, author=USERS)
    def unfollow(self, viewer: int, author: int) -> None:
        """Unfollow."""
        if viewer != author:
            self.run(self.home.unfollow(self.users[viewer], self.users[author]))

    @rule(who=st.sets(USERS, min_size=1), what=st.sampled_from([home_key, author_key, sources_key, None]))
    def lose(self, who: set[int], what: Callable[[int], str] | None) -> None:
        """Lose some keys, or everything. Follow changes are only lost together with the timeline: nothing evicts them alone."""
        everything = [home_key, author_key, sources_key]
        kinds = everything if what is None else [home_key, what]
        for user in range(4) if what is None else who:
            self.run(self.redis.delete(*(kind(self.users[user]) for kind in kinds)))

    @rule(viewer=USERS, size=st.integers(1, 12))
    def walk(self, viewer: int, size: int) -> None:
        """Read a feed to its end: what is delivered must be shown, what is late may be, and nothing else."""
        expected = self.home.world.feed_of(self.users[viewer])
        shown = self.run(self.home.walk(self.users[viewer], size))
        assert shown == [post_id for post_id in expected if post_id not in self.undelivered or post_id in set(shown)]


def test_a_feed_is_what_the_oracle_says(server: str, users: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a community does and whatever is lost, every feed is what edges and posts say, read in pages of any size."""
    monkeypatch.setattr(redis_store, "HOME_CAP", HOME_CAP)
    monkeypatch.setattr(redis_store, "AUTHOR_CAP", AUTHOR_CAP)
    monkeypatch.setattr(feed, "REBUILT_ENTRIES", HOME_CAP)
    monkeypatch.setattr(delivery, "REBUILT_ENTRIES", HOME_CAP)
    monkeypatch.setattr(pull, "RECENT_POSTS", AUTHOR_CAP)
    steps = settings(
        max_examples=250, stateful_step_count=30, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    with asyncio.Runner() as runner:
        opening = patient_store(server)
        redis = look_into(server)
        store = runner.run(opening.__aenter__())
        try:
            # It says that it wants a class, and calls what it gets without arguments.
            run_state_machine_as_test(
                lambda: CommunityMachine(store, redis, partial(_run, runner), users),  # type: ignore[arg-type]
                settings=steps,
            )
        finally:
            runner.run(redis.aclose())
            runner.run(opening.__aexit__(None, None, None))


def _run(runner: asyncio.Runner, call: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever the call gives
    async def wait() -> Any:  # noqa: ANN401
        return await call

    return runner.run(wait())
