"""`grow.followers`: what it costs to push a post to one of few followers, and to one of very many."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.audience import Audience
from bench.bench import Bench
from bench.figure import Curve, Figure, Goal
from bench.pushing import Pushing

_SERVICES = ("graph", "timeline", "fanout")
_ENTRIES = 32
# Fewer followers are reached without a job, which would tell when it is done.
_CHUNK = 5_000
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """A size to measure: posts at a time, and the followers of each one's author."""

    authors: int
    followers: int


_FULL = (Size(200, 100), Size(4, 10_000), Size(1, 1_000_000))
_SMOKE = (Size(20, 100), Size(1, 6_000), Size(1, 12_000))


async def grow(bench: Bench) -> AsyncIterator[Figure | Curve]:
    """Measure the processor time of the services and of the timelines' server, a follower; the broker's is not counted."""
    sizes = _SMOKE if bench.smoke else _FULL
    async with Audience.of(bench, sizes[-1].followers, entries=_ENTRIES) as audience, Pushing.of(bench) as pushing:
        costs = _Costs(bench, pushing)
        authors = [await audience.authors(size.authors, size.followers) for size in sizes]
        for some in authors[1:]:
            await pushing.force(some)
        found = [
            [await costs.of(size, some) for size, some in zip(sizes, authors, strict=True)]
            for _ in range(1 + bench.rounds)  # once to warm up
        ]
    few, *more = zip(*found[1:], strict=True)
    for size, values in zip(sizes[1:], more, strict=True):
        yield Figure(f"grow.followers.{size.followers}", "µs/follower", Goal.ratio_at_most(1.0), values, few)
    at = dict(zip((size.followers for size in sizes), (few, *more), strict=True))
    yield Curve.of_medians("grow.followers", "followers", "µs of processor time a follower", at)


class _Costs:
    def __init__(self, bench: Bench, pushing: Pushing) -> None:
        self._bench = bench
        self._pushing = pushing

    async def of(self, size: Size, authors: Mapping[int, Sequence[int]]) -> float:
        """Let each author post, and give the microseconds of processor time a follower."""
        posts = dict(zip(authors, await self._bench.crowd.posts(list(authors)), strict=True))
        before = await self._seconds()
        await self._pushing.publish(posts)
        await self._finished(size, authors, posts)
        return (await self._seconds() - before) / (size.authors * size.followers) * _US

    async def _finished(self, size: Size, authors: Mapping[int, Sequence[int]], posts: Mapping[int, int]) -> None:
        if size.followers < _CHUNK:
            await self._pushing.arrived({post: authors[author][-1] for author, post in posts.items()})
        else:
            await self._pushing.done(posts.values(), size.followers)

    async def _seconds(self) -> float:
        server = await self._pushing.redis.info("cpu")
        services = sum(_cpu_seconds(self._bench.rig.processes[service].pid) for service in _SERVICES)
        return services + float(server["used_cpu_user"]) + float(server["used_cpu_sys"])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
