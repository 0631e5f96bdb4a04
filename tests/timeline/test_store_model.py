"""The timeline store against a plain model of one timeline, what stands beside it, and the segment below it."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis.asyncio import Redis, RedisCluster

from tests.timeline.lives import live
from tests.timeline.model import Timeline
from timeline_svc import redis_store
from timeline_svc.packed import SLACK, Entry, State
from timeline_svc.ports import HomeWindow
from timeline_svc.redis_store import RedisTimelineStore, home_key, segment_key, sources_key
from timeline_svc.segment import Segment

CAP = 8
# Few and far apart: they repeat, they come late, and they differ in the upper half, in the lower half, and in the sign.
POSTS = st.integers(0, 60).map(lambda number: (number % 3) * 2**63 // 2 + (number // 3) * (2**32 - 1) + 1)
AUTHORS = st.sampled_from([1, 2, 2**32 + 1, 2**63])
VERSIONS = st.integers(1, 30)
TURNS = st.sampled_from([1, 2, 3, 255, 256, 2**32 - 1])
KEYS = st.sampled_from([home_key, sources_key, segment_key])
# Nothing, most of the time: what is lost is not compared.
LOST: st.SearchStrategy[set[Callable[[int], str]]] = st.one_of(*[st.just(set[Callable[[int], str]]())] * 4, st.sets(KEYS))
MARKS = st.dictionaries(AUTHORS, TURNS, max_size=3)


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
        self.timeline: Timeline | None = None
        self.lost = b"old"
        self.segment: Segment | None = None
        self.stamp = bytes(7)
        self.stamps: set[bytes] = set()
        self.restamped = False

    def entries_of(self, post_ids: set[int], author: int) -> list[Entry]:
        """Give entries as a pull brings them; an author, once given, stays a post's author."""
        return [Entry(post_id, self.authors.setdefault(post_id, author)) for post_id in sorted(post_ids)]

    @rule(post_ids=st.lists(POSTS, min_size=1, max_size=6), author=AUTHORS)
    def push(self, post_ids: list[int], author: int) -> None:
        """Push posts that are new, late or there already."""
        for post_id in post_ids:
            self.push_one(post_id, author)

    @rule(author=AUTHORS)
    def push_beyond_slack(self, author: int) -> None:
        """Push more new posts than slack has room for."""
        entries, floor = (self.timeline.entries, self.timeline.floor) if self.timeline else ({}, 0)
        first = max([*entries, floor]) + 1
        for post_id in range(first, first + SLACK + 2):
            self.push_one(post_id, author)

    def push_one(self, post_id: int, author: int) -> None:
        """Push a post."""
        (entry,) = self.entries_of({post_id}, author)
        held = self.run(self.store.push_home(entry, [self.user]))
        if self.timeline:
            assert held == 1
            if post_id >= self.timeline.floor:
                self.timeline.entries[post_id] = entry.author_id
            self.follow_cut(self.timeline)

    @rule()
    def begin(self) -> None:
        """Begin a timeline if there is none; a new one knows nothing of the one before."""
        generation = self.run(self.store.begin_home(self.user))
        if self.timeline:
            assert generation == self.timeline.generation
        else:
            assert generation != self.lost
            self.timeline, self.restamped = Timeline(generation), True

    @rule(post_ids=st.sets(POSTS, max_size=14), author=AUTHORS, floored=st.booleans())
    def add(self, post_ids: set[int], author: int, *, floored: bool) -> None:
        """Merge some more posts, complete to the beginning or only from the first of them on."""
        entries = self.entries_of(post_ids, author)
        floor = entries[0].post_id if floored and entries else 0
        added = self.run(self.store.add_home(self.user, entries, floor))
        if self.timeline:
            assert added
            self.timeline.merge(entries, floor)

    @rule(
        post_ids=st.sets(POSTS, max_size=14),
        author=AUTHORS,
        floored=st.booleans(),
        late=st.booleans(),
        marks=MARKS,
        left=st.dictionaries(AUTHORS, VERSIONS, max_size=2),
        back=st.dictionaries(AUTHORS, VERSIONS, max_size=2),
    )
    def complete(
        self,
        post_ids: set[int],
        author: int,
        marks: dict[int, int],
        left: dict[int, int],
        back: dict[int, int],
        *,
        floored: bool,
        late: bool,
    ) -> None:
        """Complete the timeline that was begun, or try so with one that was begun before it was lost."""
        entries, timeline = self.entries_of(post_ids, author), None if late else self.timeline
        floor = entries[0].post_id if floored and entries else 0
        generation = timeline.generation if timeline else self.lost
        completing = self.store.complete_home(self.user, generation, entries, floor, marks=marks, left=left, back=back)
        assert self.run(completing) is (timeline is not None)
        if timeline:
            timeline.complete(marks, left, back)
            timeline.merge(entries, floor)

    @rule(author=AUTHORS, version=VERSIONS, came=st.booleans(), turn=st.just(0) | TURNS)
    def note_source(self, author: int, version: int, turn: int, *, came: bool) -> None:
        """Note that an author came or left, in any order of versions."""
        floor = self.run(self.store.note_source(self.user, author, version, came=came, turn=turn if came else 0))
        if not self.timeline:
            return
        noted = self.timeline.note(author, version, gone=not came)
        assert floor == (self.timeline.floor if noted else None)
        if noted and came:
            self.restamped = True
            self.timeline.mark({author: turn} if turn else {})
        elif noted and self.timeline.ready:
            self.timeline.drop({author})

    @rule(author=AUTHORS, turn=TURNS)
    def mark_pulled(self, author: int, turn: int) -> None:
        """Mark an author, in any order of turns, in the feed or not."""
        marked = self.run(self.store.mark_pulled(author, turn, [self.user]))
        if self.timeline:
            assert marked == 1
            self.timeline.mark({author: turn})

    @rule(marks=MARKS)
    def unmark_pulled(self, marks: dict[int, int]) -> None:
        """Take marks away that are not of later turns."""
        self.run(self.store.unmark_pulled(self.user, marks))
        if self.timeline:
            self.timeline.unmark({author for author, turn in marks.items() if self.timeline.marks.get(author, 0) <= turn})

    @rule(before=VERSIONS)
    def settle(self, before: int) -> None:
        """Forget old changes, with what they hid."""
        self.run(self.store.settle(self.user, before))
        if self.timeline:
            old = {author: gone for author, (version, gone) in self.timeline.changes.items() if version < before}
            gone = {author for author, is_gone in old.items() if is_gone}
            self.timeline.drop(gone)
            self.timeline.unmark(gone)
            self.timeline.changes = {each: change for each, change in self.timeline.changes.items() if each not in old}

    @rule(post_ids=st.sets(POSTS, max_size=6), author=AUTHORS, upper=POSTS, floored=st.booleans())
    def keep_segment(self, post_ids: set[int], author: int, upper: int, *, floored: bool) -> None:
        """Keep what was put together below a post id, for the timeline as it is now."""
        entries = self.entries_of({post_id for post_id in post_ids if post_id < upper}, author)
        wanted = len(entries) if floored and entries else len(entries) + 1
        self.segment = Segment.of(self.stamp, upper, entries[::-1], wanted=wanted)
        self.run(self.store.keep_segment(self.user, self.segment))

    @rule(lost=LOST)
    def lose(self, lost: set[Callable[[int], str]]) -> None:
        """Lose some or all of it, as a server does that runs out of memory."""
        for key in lost:
            self.run(self.redis.delete(key(self.user)))
        if segment_key in lost:
            self.segment = None
        if self.timeline and lost & {home_key, sources_key}:
            self.lost, self.timeline = self.timeline.generation, None

    @rule(newest=st.integers(0, 20))
    def read_tail(self, newest: int) -> None:
        """Find at least the newest entries."""
        window = self.run(self.store.read_home(self.user, newest)).window
        assert (window is None) is (self.timeline is None)
        if self.timeline:
            count = len(window.post_ids)
            assert count >= min(newest, len(self.timeline.entries))
            assert list(window.post_ids) == sorted(self.timeline.entries)[len(self.timeline.entries) - count :]
            assert window.whole == (count == len(self.timeline.entries))

    @rule(below=POSTS)
    def page_below(self, below: int) -> None:
        """Find all that was kept from there down, of authors who did not leave, or nothing that is of use."""
        home: HomeWindow = self.run(self.store.read_home(self.user, None))
        if self.timeline and home.segment and home.segment.holds(home.sources.stamp, below):
            hidden = self.timeline.hidden
            ids = [post_id for post_id in home.segment.post_ids if post_id < below and self.authors[post_id] not in hidden]
            assert home.segment.below(below, home.sources.hidden) == sorted(ids, reverse=True)
            assert home.segment.floor < below <= home.segment.upper

    def follow_cut(self, timeline: Timeline) -> None:
        """Cut the model where the store cut: when is the store's business, but only over the cap, and to the cap exactly."""
        window = self.run(self.store.read_home(self.user, None)).window
        if window.floor != timeline.floor:
            assert len(timeline.entries) > CAP
            assert window.floor == sorted(timeline.entries)[-CAP]
            timeline.floor = window.floor
            timeline.drop(set())
        assert len(timeline.entries) <= CAP + SLACK

    @invariant()
    def is_as_the_model(self) -> None:
        """Compare everything after each step."""
        home: HomeWindow = self.run(self.store.read_home(self.user, None))
        assert home.segment == self.segment
        assert (home.window is None) is (self.timeline is None)
        if self.timeline and home.window:
            self.follow_cut(self.timeline)
            assert home.sources.hidden == self.timeline.hidden
            assert home.sources.marks == self.timeline.marks
            assert home.sources.oldest_change == min((version for version, _ in self.timeline.changes.values()), default=0)
            assert home.window.state is (State.READY if self.timeline.ready else State.REBUILDING)
            assert home.window.whole
            pairs = zip(home.window.post_ids, home.window.author_ids, strict=True)
            assert list(pairs) == sorted(self.timeline.entries.items())
            self.check_stamp(home.sources.stamp)

    def check_stamp(self, stamp: bytes) -> None:
        """Find a stamp that never was when an author came or a timeline was begun, and else the same."""
        assert (stamp != self.stamp) is self.restamped
        assert not self.restamped or stamp not in self.stamps
        self.stamp, self.restamped = stamp, False
        self.stamps.add(stamp)


def test_a_timeline_is_what_the_model_says(server: str, users: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any sequence of changes and losses does to a stored timeline what it does to the model; the cap is small, to be met often."""
    monkeypatch.setattr(redis_store, "HOME_CAP", CAP)
    live(server, lambda store, redis, run: TimelineMachine(store, redis, run, next(users)), lives=150, steps=40)
