"""Who there is and what each client will do, all from one seed. Members are known by their number; the most followed come first.

A member's posts belong to one client, and so does each pair of members: to the client of the more followed one. What one
client does about them it does one after another, so that the definite answers alone tell how it ended.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# They cross the threshold between push and pull, both ways.
TURNERS = (0, 1)
_OWN_CLIENTS = len(TURNERS)


# How often each kind of episode is chosen, and how many posts it makes.
_KINDS = {
    "post": (30, 1),
    "burst": (6, 4),
    "edit": (8, 1),
    "delete": (10, 1),
    "twice": (3, 1),
    "deliver": (8, 1),
    "follow": (8, 2),
    "unfollow": (10, 2),
    "mute": (6, 1),
    "block": (6, 1),
    "privacy": (4, 1),
    "remove": (2, 1),
}
# After these a viewer may have lost an author; so many of those who follow have left before.
_LEAVING = frozenset({"unfollow", "block", "remove"})
_COME_BACK = 0.6


@dataclass(frozen=True, slots=True)
class Size:
    """How big a run is. `follows` and `early_posts` are made before the load, `posts` are what load and beginning make at least.

    `chunk` is how many followers a chunk has, `posters` how many publish at once before the load.
    """

    users: int
    follows: int
    collectors: int
    collected: int
    early_posts: int
    posts: int
    clients: int
    seconds: float
    readers: int
    reads_per_second: float
    pull_at: int
    push_at: int
    chunk: int = 100
    posters: int = 64


def size_for(users: int, posts: int, seconds: float, engines: str) -> Size:
    """Scale a main run.

    What stands in for DynamoDB takes far fewer writes. There edges are fewer, nearly every author's followers fit into one chunk,
    and most posts are made before the load, few at once, so that no backlog stands when the load begins.
    """
    real = engines == "real"
    return Size(
        users=users,
        follows=users if real else users * 4,
        collectors=2 if real else 10,
        collected=min(220, users // 3),
        early_posts=posts * 17 // 20 if real else posts * 6 // 10,
        posts=posts + posts // 50,
        clients=max(4, min(48, users // 5)),
        seconds=seconds,
        readers=6,
        reads_per_second=20 if real else 60,
        pull_at=50 if real else 100,
        push_at=35 if real else 70,
        chunk=40 if real else 100,
        posters=16 if real else 64,
    )


@dataclass(frozen=True, slots=True)
class Episode:
    """Something that a client does about an author, and about a viewer. `choice` decides what the kind leaves open."""

    kind: str
    author: int
    viewer: int
    choice: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A community and everything that is done in it. `fans` follow and leave the turners in turn; others stay."""

    follows: Sequence[tuple[int, int]]
    early_authors: Sequence[int]
    episodes: Sequence[Sequence[Episode]]
    fans: Sequence[Sequence[int]]
    readers: Sequence[int]


def rng(seed: int, name: str) -> random.Random:
    """Give random numbers that only seed and name decide."""
    return random.Random(f"{seed}/{name}")  # noqa: S311  # no secret


def steady(first: int, second: int) -> bool:
    """Tell whether a pair is left as it is after the beginning, so that others can rely on it."""
    return (first * 31 + second * 17) % 3 != 0


def planned(size: Size, seed: int) -> Plan:
    """Plan a run."""
    chance = rng(seed, "graph")
    weights = list(itertools.accumulate(1 / (rank + 3) ** 0.8 for rank in range(size.users)))
    follows = dict.fromkeys(_follows(size, chance, weights))
    readers = _some(chance, range(size.users), size.users * 2 // 3)
    # Only followers who read count for the threshold.
    fans = [_some(chance, [member for member in readers if member not in TURNERS], int(size.pull_at * 1.15)) for _ in TURNERS]
    # Who stays through all turns shows at the end what a turn left out; who comes back is given everything anew.
    staying = int(size.push_at * 0.9)
    follows |= dict.fromkeys((fan, turner) for turner in TURNERS for fan in fans[turner][:staying])
    early = rng(seed, "early").choices(range(size.users), k=size.early_posts)
    clients = [_episodes(size, seed, client) for client in range(_OWN_CLIENTS, size.clients)]
    return Plan(list(follows), early, clients, [some[staying:] for some in fans], readers)


def _follows(size: Size, chance: random.Random, weights: Sequence[float]) -> Iterator[tuple[int, int]]:
    for _ in range(size.follows):
        follower, followee = chance.randrange(size.users), *chance.choices(range(size.users), cum_weights=weights)
        if follower != followee and followee not in TURNERS:
            yield follower, followee
    for collector in range(size.users - size.collectors, size.users):
        yield from ((collector, followee) for followee in _some(chance, range(len(TURNERS), collector), size.collected))


def _episodes(size: Size, seed: int, client: int) -> list[Episode]:
    """Plan one client's part, about its own authors; so much that all clients together make the posts wanted."""
    chance = rng(seed, f"client {client}")
    owned = range(client, size.users - 1, size.clients - _OWN_CLIENTS)
    share = (size.posts - size.early_posts) / (size.clients - _OWN_CLIENTS)
    posts = 0
    episodes: list[Episode] = []
    left: list[tuple[int, int]] = []
    while posts < share:
        (kind,) = chance.choices(list(_KINDS), weights=[weight for weight, _ in _KINDS.values()])
        author = owned[int(len(owned) * chance.random() ** 2)]
        viewer = _viewer(size, chance, author)
        if kind in _LEAVING:
            left.append((author, viewer))
        elif kind == "follow" and left and chance.random() < _COME_BACK:
            author, viewer = left.pop(0)
        episodes.append(Episode(kind, author, viewer, chance.random()))
        posts += _KINDS[kind][1]
    return episodes


def _viewer(size: Size, chance: random.Random, author: int) -> int:
    """Choose a less followed member whose relation to the author may be changed."""
    while True:
        viewer = chance.randrange(author + 1, size.users)
        if not steady(author, viewer) or viewer - author < 3:
            return viewer


def _some(chance: random.Random, members: Sequence[int], count: int) -> list[int]:
    return chance.sample(members, min(count, len(members)))
