"""`fanout.*`: what it costs to bring posts into timelines that exist, against what Redis can do by itself."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from bench.audience import Audience
from bench.bench import Bench
from bench.figure import Figure, Goal, alternating
from bench.pushing import Pushing
from bench.redis_load import Appends, SortedSets

# Full timelines, of followers who together need 300 MB.
_FOLLOWERS, _ENTRIES = 20_000, 800
_AUTHORS = 10
# A million full ones would need 13 GB.
_MILLION, _FEW_ENTRIES = 1_000_000, 32
# More than a chunk has, so that there is a job, which tells when it is done.
_FEWEST = 6_000
_SORTED_SETS = 4_000
_APPENDS = 500_000


async def rate(bench: Bench) -> AsyncIterator[Figure]:
    """Measure how many timelines a second one worker reaches, against bare appends."""
    followers = bench.size(_FOLLOWERS, _FEWEST)
    async with Appends.of(bench.rig.redis_url, followers) as appends, _deliveries(bench, followers) as deliveries:
        values, references = await alternating(bench.rounds, deliveries, lambda: appends.rate(bench.size(_APPENDS, 50_000)))
    yield Figure("fanout.rate", "deliveries/s", Goal.ratio_at_least(0.25), values, references)


async def sorted_set(bench: Bench) -> AsyncIterator[Figure]:
    """Measure the same against sorted sets that a Python program writes to, with a trim."""
    followers = bench.size(_FOLLOWERS, _FEWEST)
    sorted_sets = SortedSets.of(bench.rig.redis_url, range(bench.size(_SORTED_SETS, 400)), entries=_ENTRIES)
    async with _deliveries(bench, followers) as deliveries, sorted_sets as sets:

        async def reference() -> float:
            began = time.perf_counter()
            await sets.push()
            return len(sets) / (time.perf_counter() - began)

        values, references = await alternating(bench.rounds, deliveries, reference)
    yield Figure("fanout.sorted_set", "deliveries/s", Goal.ratio_at_least(2.5), values, references)


async def million(bench: Bench) -> AsyncIterator[Figure]:
    """Measure how long a post takes to everybody, with two workers; the reference is how long as many bare appends take."""
    followers = bench.size(_MILLION, _FEWEST)
    async with (
        Appends.of(bench.rig.redis_url, followers) as appends,
        bench.rig.another("fanout"),
        Audience.of(bench, followers, entries=_FEW_ENTRIES) as audience,
        Pushing.of(bench) as pushing,
    ):
        authors = list(await audience.authors(1, followers))
        await pushing.force(authors)

        async def reference() -> float:
            return followers / await appends.rate(followers)

        values, references = await alternating(bench.rounds, lambda: seconds_of(pushing, authors, followers), reference)
    yield Figure("fanout.million", "s", Goal.at_most(10), values, references)


@asynccontextmanager
async def _deliveries(bench: Bench, followers: int) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Give what measures deliveries a second, when some authors post at the same time to all of an audience."""
    async with Audience.of(bench, followers, entries=_ENTRIES) as audience, Pushing.of(bench) as pushing:
        authors = list(await audience.authors(bench.size(_AUTHORS, 1), followers))
        await pushing.force(authors)

        async def push() -> float:
            return len(authors) * followers / await seconds_of(pushing, authors, followers)

        await push()  # to warm up
        yield push


async def seconds_of(pushing: Pushing, authors: Sequence[int], followers: int) -> float:
    """Let each author post, and give the seconds until all of the followers have it."""
    posts = dict(zip(authors, await pushing.bench.crowd.posts(authors), strict=True))
    began = time.perf_counter()
    await pushing.publish(posts)
    await pushing.done(posts.values(), followers)
    return time.perf_counter() - began
