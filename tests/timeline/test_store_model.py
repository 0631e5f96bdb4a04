"""The timeline store against a plain model of one timeline."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from redis.asyncio import Redis, RedisCluster

from tests.timeline.servers import look_into, patient_store
from timeline_svc import redis_store
from timeline_svc.packed import SLACK, Entry, State
from timeline_svc.redis_store import RedisTimelineStore, home_key

CAP = 8
# Few and far apart: they repeat, they come late, and they differ in the upper half, in the lower half, and in the sign.
POSTS = st.integers(0, 60).map(lambda number: (number % 3) * 2**63 // 2 + (number // 3) * (2**32 - 1) + 1)
AUTHORS = st.sampled_from([1, 2, 2**32 + 1, 2**63])
VERSIONS = st.integers(1, 30)


class TimelineMachine(RuleBasedStateMachine):
    """Does the same to a stored timeline and to a model. Each run has a user of its own, so that one server serves them all."""

    def __init__(
        self, store: RedisTimelineStore, redis: Redis | RedisCluster, run: Callable[[Awaitable[Any]], Any], user: int
    ) -> None:
        super().__init__()
        self.store = store
        self.redis = redis
        self.run = run
        self.user = user
        self.authors: dict[int, int] = {}
        self.exists = False
        self.generation = b"none"
        self.ready = False
        self.floor = 0
        self.entries: dict[int, int] = {}
        self.changes: dict[int, tuple[int, bool]] = {}

    @rule(post_ids=st.lists(POSTS, min_size=1, max_size=6), author=AUTHORS)
    def push(self, post_ids: list[int], author: int) -> None:
        """Push posts that are new, late or there already; an author, once given, stays a post's author."""
        for post_id in post_ids:
            entry = Entry(post_id, self.authors.setdefault(post_id, author))
            assert self.run(self.store.push_home(entry, [self.user])) == int(self.exists)
            if self.exists and post_id >= self.floor:
                self.entries[post_id] = entry.author_id
            self.check()

    @rule()
    def push_beyond_slack(self) -> None:
        """Push more new posts than slack has room for."""
        first = max([*self.entries, self.floor]) + 1
        for post_id in range(first, first + SLACK + 2):
            self.push_one(post_id)
        self.check()

    def push_one(self, post_id: int) -> None:
        """Push a post without looking at the result, except that what was cut is cut."""
        author = self.authors.setdefault(post_id, 1)
        self.run(self.store.push_home(Entry(post_id, author), [self.user]))
        if self.exists:
            self.entries[post_id] = author
            self.follow_cut()

    @rule()
    def begin(self) -> None:
        """Begin a timeline if there is none."""
        generation = self.run(self.store.begin_home(self.user))
        assert (generation == self.generation) is self.exists
        self.generation = generation
        if not self.exists:
            self.exists, self.ready, self.floor, self.entries = True, False, 0, {}
        self.check()

    @rule(post_ids=st.sets(POSTS, max_size=14), author=AUTHORS, floored=st.booleans())
    def add(self, post_ids: set[int], author: int, *, floored: bool) -> None:
        """Merge some more posts, complete to the beginning or only from the first of them on."""
        entries, floor = self.pulled(post_ids, author, floored=floored)
        assert self.run(self.store.add_home(self.user, entries, floor)) is self.exists
        if self.exists:
            self.merge(entries, floor)
        self.check()

    @rule(post_ids=st.sets(POSTS, max_size=14), author=AUTHORS, floored=st.booleans(), lost=st.booleans())
    def complete(self, post_ids: set[int], author: int, *, floored: bool, lost: bool) -> None:
        """Complete the timeline that was begun, or try so with one that was begun before it was lost."""
        entries, floor = self.pulled(post_ids, author, floored=floored)
        generation = b"old" if lost else self.generation
        taken = self.exists and not lost
        assert self.run(self.store.complete_home(self.user, generation, entries, floor)) is taken
        if taken:
            self.ready = True
            self.merge(entries, floor)
        self.check()

    def pulled(self, post_ids: set[int], author: int, *, floored: bool) -> tuple[list[Entry], int]:
        """Give entries as a pull brings them, and their floor."""
        entries = [Entry(post_id, self.authors.setdefault(post_id, author)) for post_id in sorted(post_ids)]
        return entries, entries[0].post_id if floored and entries else 0

    def merge(self, entries: list[Entry], floor: int) -> None:
        """Do to the model what a merge does."""
        self.floor = max(self.floor, floor)
        self.entries |= {entry.post_id: entry.author_id for entry in entries}
        self.drop(self.hidden())

    @rule(author=AUTHORS, version=VERSIONS, following=st.booleans())
    def note_follow(self, author: int, version: int, *, following: bool) -> None:
        """Note a follow or an unfollow, in any order of versions."""
        noted = self.run(self.store.note_follow(self.user, author, version, following=following))
        if author in self.changes and self.changes[author][0] > version:
            assert noted is None
        else:
            assert noted == (self.floor if self.exists else None)
            self.changes[author] = version, not following
            if not following:
                self.drop({author})
        self.check()

    @rule(before=VERSIONS)
    def settle(self, before: int) -> None:
        """Forget old changes."""
        self.run(self.store.settle(self.user, before))
        old = {author: hidden for author, (version, hidden) in self.changes.items() if version < before}
        if gone := {author for author, hidden in old.items() if hidden}:
            self.drop(gone)
        self.changes = {author: change for author, change in self.changes.items() if author not in old}
        self.check()

    @rule()
    def lose(self) -> None:
        """Lose the timeline, as a server does that runs out of memory."""
        self.run(self.redis.delete(home_key(self.user)))
        self.exists, self.floor, self.entries = False, 0, {}
        self.check()

    @rule(newest=st.integers(0, 20))
    def read_tail(self, newest: int) -> None:
        """Find at least the newest entries."""
        window = self.run(self.store.read_home(self.user, newest)).window
        assert (window is not None) == self.exists
        if window:
            count = len(window.post_ids)
            assert count >= min(newest, len(self.entries))
            assert list(window.post_ids) == sorted(self.entries)[len(self.entries) - count :]
            assert window.whole == (count == len(self.entries))

    def hidden(self) -> set[int]:
        """Give the authors whom the viewer unfollowed."""
        return {author for author, (_, hidden) in self.changes.items() if hidden}

    def drop(self, authors: set[int]) -> None:
        """Take out what is of these authors or below the floor."""
        kept = {post_id: author for post_id, author in self.entries.items() if author not in authors and post_id >= self.floor}
        self.entries = kept

    def follow_cut(self) -> None:
        """Cut the model where the store cut: when is the store's business, but only over the cap, and to the cap exactly."""
        window = self.run(self.store.read_home(self.user, None)).window
        if window.floor != self.floor:
            assert len(self.entries) > CAP
            assert window.floor == sorted(self.entries)[-CAP]
            self.floor = window.floor
            self.drop(set())
        assert len(self.entries) <= CAP + SLACK

    def check(self) -> None:
        """Compare everything."""
        if self.exists:
            self.follow_cut()
        home = self.run(self.store.read_home(self.user, None))
        assert home.hidden == self.hidden()
        assert home.oldest_change == min((version for version, _ in self.changes.values()), default=0)
        assert (home.window is not None) == self.exists
        if home.window:
            assert home.window.state is (State.READY if self.ready else State.REBUILDING)
            assert home.window.whole
            assert list(zip(home.window.post_ids, home.window.author_ids, strict=True)) == sorted(self.entries.items())


def test_a_timeline_is_what_the_model_says(server: str, users: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any sequence of changes and losses does to a stored timeline what it does to the model; the cap is small, to be met often."""
    monkeypatch.setattr(redis_store, "HOME_CAP", CAP)
    steps = settings(
        max_examples=100,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    with asyncio.Runner() as runner:
        opening = patient_store(server)
        redis = look_into(server)
        store = runner.run(opening.__aenter__())
        try:
            # It says that it wants a class, and calls what it gets without arguments.
            run_state_machine_as_test(
                lambda: TimelineMachine(store, redis, partial(_run, runner), next(users)),  # type: ignore[arg-type]
                settings=steps,
            )
        finally:
            runner.run(redis.aclose())
            runner.run(opening.__aexit__(None, None, None))


def _run(runner: asyncio.Runner, call: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever the call gives
    async def wait() -> Any:  # noqa: ANN401
        return await call

    return runner.run(wait())
