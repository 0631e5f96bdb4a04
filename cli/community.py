"""Who there is, who follows whom, and who posts what: generated, or read from a list of edges. The same input, the same plan.

The generated graph grows by preferential attachment: each newcomer follows `follows_per_user` accounts, each chosen with a
probability in proportion to the edges it has (A.-L. Barabasi and R. Albert, "Emergence of scaling in random networks", Science 286,
1999), so that follower counts follow a power law. A part of the follows is returned. Posts are spread over authors by Zipf's law.
"""

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from cli.texts import text

_RETURNED = 0.4
_PREFIX = re.compile(r"[A-Za-z0-9_]{0,17}")


class CommunityError(Exception):
    """The community cannot be planned; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A community to make. Users and posts are known by their number; `name` stands for everything in the plan."""

    name: str
    usernames: Sequence[str]
    follows: Sequence[tuple[int, int]]
    authors: Sequence[int]
    seed: int

    def content(self, post: int) -> str:
        """Give the text of a post."""
        return text(_rng(self.seed, f"text {post}"), post)


def generated(*, users: int, follows_per_user: int, posts: int, prefix: str = "", seed: int = 1) -> Plan:
    """Plan a community of a size.

    Raises:
        CommunityError: there are no users, or the prefix makes no usernames.

    """
    rng = _rng(seed, "graph")
    return _plan(users, list(_attached(users, follows_per_user, rng)), posts, prefix, seed)


def from_edges(path: Path, *, posts: int, directed: bool = False, prefix: str = "", seed: int = 1) -> Plan:
    """Plan a community from a file: one `a b` pair a line, `a` follows `b`, and `b` follows `a` unless `directed`.

    Lines that start with `#` or `%`, loops and repetitions are passed over; users are numbered in the order of their labels.

    Raises:
        CommunityError: a line is no pair, there is no edge, or the prefix makes no usernames.
        OSError: the file cannot be read.

    """
    pairs = _read_pairs(path)
    labels = {label for pair in pairs for label in pair}
    number = {label: index for index, label in enumerate(sorted(labels, key=_label_order))}
    edges = [(number[a], number[b]) for a, b in pairs]
    if not directed:
        edges += [(b, a) for a, b in edges]
    return _plan(len(number), edges, posts, prefix, seed)


def _plan(users: int, edges: Iterable[tuple[int, int]], posts: int, prefix: str, seed: int) -> Plan:
    if users < 1:
        raise CommunityError("a community needs at least one user")
    if not _PREFIX.fullmatch(prefix):
        raise CommunityError("a prefix is at most 17 letters, digits or underscores")
    follows = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
    # Mixed, because nobody's followers come one right after the other.
    _rng(seed, "order").shuffle(follows)
    authors = _spread(users, posts, _rng(seed, "authors"))
    usernames = [f"{prefix}user_{number}" for number in range(users)]
    name = hashlib.sha256(f"{prefix} {users} {seed} {follows} {authors}".encode()).hexdigest()[:12]
    return Plan(name=name, usernames=usernames, follows=follows, authors=authors, seed=seed)


def _attached(users: int, follows_per_user: int, rng: random.Random) -> Iterable[tuple[int, int]]:
    # Every account stands here once, and once more for each edge it has: a uniform choice is a preferential one.
    ends = [0]
    for newcomer in range(1, users):
        chosen: set[int] = set()
        while len(chosen) < min(follows_per_user, newcomer):
            chosen.add(rng.choice(ends))
        for followee in sorted(chosen):
            yield newcomer, followee
            if rng.random() < _RETURNED:
                yield followee, newcomer
        ends += [*sorted(chosen), *[newcomer] * (len(chosen) + 1)]


def _spread(users: int, posts: int, rng: random.Random) -> list[int]:
    ranked = list(range(users))
    rng.shuffle(ranked)
    weights = list(accumulate(1 / rank for rank in range(1, users + 1)))
    return rng.choices(ranked, cum_weights=weights, k=posts)


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    pairs = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            fields = line.replace(",", " ").split()
            if not fields or fields[0][0] in "#%":
                continue
            if len(fields) == 1:
                raise CommunityError(f"{path}, line {number}: needs two accounts, `a b`")
            pairs.append((fields[0], fields[1]))
    return pairs


def _label_order(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (-1, label)


def _rng(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed} {purpose}")  # noqa: S311  # to be repeated, not to be secret
