"""`grow.deep`: a feed of 10,000 followees, of whom 500 are pulled, read page by page to its very end."""

import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence

import aiohttp
import msgspec

from bench.bench import Bench
from bench.figure import Figure, Goal
from bench.latency import percentile
from bench.pulled import pull
from post_svc.domain import Delivery

_PAGE = 100


class _Post(msgspec.Struct):
    post_id: str


class _Item(msgspec.Struct):
    post: _Post


class _Page(msgspec.Struct):
    items: list[_Item] = []
    next_page_token: str = ""


async def to_the_end(bench: Bench) -> AsyncIterator[Figure]:
    """Page through all of the feed, and see that it is exactly what was posted.

    The reference is the newest page of the same feed, read again and again.
    """
    reader, expected = await _feed(bench)
    values, references = [], []
    async with aiohttp.ClientSession(bench.rig.url, headers=bench.rig.as_user(reader)) as session:
        for _ in range(bench.rounds):
            values.append(percentile(await _all_pages(session, expected), 99) * 1e3)
            references.append(statistics.median([await _first_page(session) for _ in range(20)]) * 1e3)
    yield Figure("grow.deep", "ms p99", Goal.at_most(200), values, references)


async def _feed(bench: Bench) -> tuple[int, list[int]]:
    """Make the followees and their posts; some pulled authors post more than what is kept of them in memory."""
    size = bench.size
    reader, *authors = await bench.crowd.people(1 + size(10_000, 200))
    pulled, pushed = authors[: size(500, 20)], authors[size(500, 20) :]
    await pull(bench.rig, pulled)
    await bench.crowd.follow([(reader, author) for author in authors])
    by_push = pushed * 2
    by_pull = pulled * 15 + pulled[: size(40, 2)] * 135
    chance = random.Random(1)  # noqa: S311  # the same feed in every run
    chance.shuffle(by_push)
    chance.shuffle(by_pull)
    slices, made = 100, []
    for part in range(slices):
        made += await bench.crowd.posts(by_push[part::slices])
        made += await bench.crowd.posts(by_pull[part::slices], delivery=Delivery.PULL)
    return reader, made[::-1]


async def _all_pages(session: aiohttp.ClientSession, expected: Sequence[int]) -> list[float]:
    """Read page after page, and give how long each took, in seconds. Raises ValueError when a post is missing or misplaced."""
    seen: list[int] = []
    taken: list[float] = []
    token = ""
    while True:
        began = time.perf_counter()
        page = await _read(session, token)
        taken.append(time.perf_counter() - began)
        seen += [int(item.post.post_id) for item in page.items]
        token = page.next_page_token
        if not token:
            break
    if seen != list(expected):
        raise ValueError(f"the feed is not what was posted: {len(seen):,} posts of {len(expected):,}")
    return taken


async def _first_page(session: aiohttp.ClientSession) -> float:
    began = time.perf_counter()
    await _read(session, "")
    return time.perf_counter() - began


async def _read(session: aiohttp.ClientSession, token: str) -> _Page:
    query = {"page_size": str(_PAGE)} | ({"page_token": token} if token else {})
    async with session.get("/v1/feed", params=query) as response:
        response.raise_for_status()
        return msgspec.json.decode(await response.read(), type=_Page)
