"""What was the case when, as far as the log can tell: for each moment the values that are possible, and often that is one."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Generic, NamedTuple, TypeVar

from tests.chaos.ledger import Answered, Asked, Delivered, Fault, Line, Turned

_Value = TypeVar("_Value")

NORMAL_S = 2.0
THROUGH_FAULTS_S = 60.0
# After a fault, what waited may be on its way for so long; what comes then is as fast as ever.
_RECOVERY_S = 10.0

NONE, REQUESTED, ACTIVE = "none", "requested", "active"


class _Change(NamedTuple, Generic[_Value]):
    begin: float
    end: float
    value: _Value


class Register(Generic[_Value]):
    """One thing that changes now and then: each time at some moment between begin and end; without an answer perhaps never."""

    def __init__(self, initial: _Value) -> None:
        self._initial = initial
        self._changes: list[_Change[_Value]] = []

    def change(self, begin: float, end: float, value: _Value) -> None:
        """Add a change; they come in the order of their begins. An `end` of infinity is one that was never answered."""
        self._changes.append(_Change(begin, end, value))

    def over(self, since: float, until: float = inf) -> set[_Value]:
        """Give all values that it may have had at some moment between two."""
        settled, possible = self._initial, set()
        for change in self._changes:
            if change.begin > until:
                break
            if change.end <= since:
                settled = change.value
            else:
                possible.add(change.value)
        return {settled} | possible

    def settled_at(self, moment: float) -> float:
        """Give when the last change before a moment was answered."""
        return max((change.end for change in self._changes if change.end <= moment), default=-inf)

    @property
    def last(self) -> _Value:
        """The last answered value."""
        return next((change.value for change in reversed(self._changes) if change.end < inf), self._initial)

    @property
    def doubtful(self) -> bool:
        """Whether some change was never answered."""
        return any(change.end == inf for change in self._changes)


@dataclass(slots=True)
class Text:
    """A text that a post had or may have: what wrote it, asked and answered when."""

    op: int
    begin: float
    end: float


@dataclass(slots=True)
class Post:
    """A post's life. `post_id` is 0 when it was never told. `texts` are by version."""

    author: int
    post_id: int
    op: int
    begin: float
    end: float
    texts: list[Text] = field(default_factory=list)
    doubtful_texts: set[int] = field(default_factory=set)
    delete_begin: float = inf
    deleted: float = inf


@dataclass(slots=True)
class History:
    """All that the log tells of users, their relations and their posts."""

    users: list[int] = field(default_factory=list)
    edges: dict[tuple[int, int], Register[str]] = field(default_factory=lambda: defaultdict(lambda: Register(NONE)))
    mutes: dict[tuple[int, int], Register[bool]] = field(default_factory=lambda: defaultdict(lambda: Register(initial=False)))
    blocks: dict[tuple[int, int], Register[bool]] = field(default_factory=lambda: defaultdict(lambda: Register(initial=False)))
    private: dict[int, Register[bool]] = field(default_factory=lambda: defaultdict(lambda: Register(initial=False)))
    posts: dict[int, Post] = field(default_factory=dict)
    by_op: dict[int, Post] = field(default_factory=dict)
    by_author: dict[int, list[Post]] = field(default_factory=lambda: defaultdict(list))
    followees: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    faults: list[Fault] = field(default_factory=list)
    deliveries: list[Delivered] = field(default_factory=list)
    turns: list[Turned] = field(default_factory=list)
    operations: list[tuple[Asked, Answered]] = field(default_factory=list)
    within: float = NORMAL_S

    @classmethod
    def of(cls, lines: Iterable[Line], *, within: float = NORMAL_S) -> "History":
        """Read a log. What brings posts is due `within` so many seconds when nothing is broken."""
        history = cls(within=within)
        for asked, answered in history._pairs(lines):
            history.operations.append((asked, answered))
            apply = _EFFECTS.get(asked.kind)
            if apply and answered.outcome != "refused":
                apply(history, asked, answered, inf if answered.outcome == "unknown" else answered.at)
        for posts in history.by_author.values():
            posts.sort(key=lambda post: post.post_id)
        return history

    def _pairs(self, lines: Iterable[Line]) -> Iterator[tuple[Asked, Answered]]:
        """Give operations in the order in which they were asked, with their answers; without one it is unknown."""
        asked: dict[int, Asked] = {}
        answered: dict[int, Answered] = {}
        for line in lines:
            match line:
                case Asked():
                    asked[line.op] = line
                case Answered():
                    answered[line.op] = line
                case Fault():
                    self.faults.append(line)
                case Delivered():
                    self.deliveries.append(line)
                case Turned():
                    self.turns.append(line)
        for op, question in asked.items():
            yield question, answered.get(op) or Answered(op, inf, "unknown")

    def due(self, answered: float) -> float:
        """Say when what was answered at a moment must be in feeds: soon, or in 60 s when something was broken meanwhile."""
        return answered + (self.within if self.calm(answered) else THROUGH_FAULTS_S)

    def calm(self, moment: float) -> bool:
        """Tell whether nothing was broken, or about to be repaired, for the length of the normal promise."""
        return not any(fault.begin < moment + self.within and moment < fault.end + _RECOVERY_S for fault in self.faults)

    def asked_privately(self) -> set[int]:
        """Give everybody who may have had a request to follow, on either side."""
        asked = (pair for pair, edge in self.edges.items() if REQUESTED in edge.over(-inf))
        return {user for pair in asked for user in pair}

    def visible(self, viewer: int, author: int, since: float, until: float) -> set[bool]:
        """Say whether a viewer may have been allowed to see an author's posts: the values possible between two moments."""
        if viewer == author:
            return {True}
        # A block holds when it is answered, anything else a second later.
        blocks = [self.blocks[pair].over(since + 1, until) for pair in _both(viewer, author) if pair in self.blocks]
        private = self.private[author].over(since, until) if author in self.private else {False}
        edge = self.edges[viewer, author].over(since, until) if (viewer, author) in self.edges else {NONE}
        never = any(values == {True} for values in blocks) or (private == {True} and ACTIVE not in edge)
        always = all(values == {False} for values in blocks) and (private == {False} or edge == {ACTIVE})
        return {True} if always else {False} if never else {True, False}


def _both(first: int, second: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (first, second), (second, first)


_Effect = Callable[[History, Asked, Answered, float], None]


def _user(history: History, asked: Asked, answered: Answered, end: float) -> None:
    del asked, end
    history.users.append(answered.made)


def _post(history: History, asked: Asked, answered: Answered, end: float) -> None:
    post = Post(asked.who, answered.made, asked.op, asked.at, end, [Text(asked.op, asked.at, end)])
    history.by_op[asked.op] = post
    if post.post_id:
        history.posts[post.post_id] = post
        history.by_author[asked.who].append(post)


def _edit(history: History, asked: Asked, answered: Answered, end: float) -> None:
    post = history.posts[asked.post]
    history.by_op[asked.op] = post
    if answered.outcome == "ok":
        post.texts.append(Text(asked.op, asked.at, end))
    else:
        post.doubtful_texts.add(asked.op)


def _delete(history: History, asked: Asked, answered: Answered, end: float) -> None:
    del answered
    post = history.posts[asked.post]
    post.delete_begin, post.deleted = min(post.delete_begin, asked.at), min(post.deleted, end)


def _edge(history: History, follower: int, followee: int, begin: float, end: float, value: str) -> None:
    history.followees[follower].add(followee)
    history.edges[follower, followee].change(begin, end, value)


def _follow(history: History, asked: Asked, answered: Answered, end: float) -> None:
    # Without an answer it may have become either.
    states = [ACTIVE, REQUESTED] if answered.outcome == "unknown" else [REQUESTED if "REQUESTED" in answered.state else ACTIVE]
    for state in states:
        _edge(history, asked.who, asked.whom, asked.at, end, state)


def _cut(history: History, asked: Asked, follower: int, followee: int, end: float) -> None:
    if history.edges[follower, followee].over(-inf) != {NONE}:
        _edge(history, follower, followee, asked.at, end, NONE)


def _unfollow(history: History, asked: Asked, answered: Answered, end: float) -> None:
    del answered
    _cut(history, asked, asked.who, asked.whom, end)


def _remove(history: History, asked: Asked, answered: Answered, end: float) -> None:
    """End an edge; requests stay."""
    del answered
    if history.edges[asked.whom, asked.who].last != REQUESTED:
        _cut(history, asked, asked.whom, asked.who, end)


def _block(history: History, asked: Asked, answered: Answered, end: float) -> None:
    del answered
    history.blocks[asked.who, asked.whom].change(asked.at, end, value=True)
    for follower, followee in _both(asked.who, asked.whom):
        _cut(history, asked, follower, followee, end)


def _approve(history: History, asked: Asked, answered: Answered, end: float) -> None:
    del answered
    _edge(history, asked.whom, asked.who, asked.at, end, ACTIVE)


def _reject(history: History, asked: Asked, answered: Answered, end: float) -> None:
    del answered
    if history.edges[asked.whom, asked.who].last == REQUESTED:
        _edge(history, asked.whom, asked.who, asked.at, end, NONE)


def _switch(kind: str, *, value: bool) -> _Effect:
    def apply(history: History, asked: Asked, answered: Answered, end: float) -> None:
        del answered
        if kind == "private":
            history.private[asked.who].change(asked.at, end, value)
        else:
            (history.mutes if kind == "mute" else history.blocks)[asked.who, asked.whom].change(asked.at, end, value)

    return apply


_EFFECTS: dict[str, _Effect] = {
    "user": _user,
    "post": _post,
    "edit": _edit,
    "delete": _delete,
    "follow": _follow,
    "unfollow": _unfollow,
    "remove": _remove,
    "block": _block,
    "approve": _approve,
    "reject": _reject,
    "unblock": _switch("block", value=False),
    "mute": _switch("mute", value=True),
    "unmute": _switch("mute", value=False),
    "private": _switch("private", value=True),
    "public": _switch("private", value=False),
}
