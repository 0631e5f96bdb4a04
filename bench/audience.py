"""Followers by the hundred thousand, with a timeline each, and authors whom they follow: all that a fan-out touches."""

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Self, TypeVar

from redis.asyncio import Redis

from bench.bench import Bench
from graph_svc.domain import FollowerPosition
from meshkit.ids import IdGenerator
from timeline_svc.packed import SLACK, Entry
from timeline_svc.redis_store import INACTIVE_DAYS, home_key, open_redis

_WORKER = 1_001
_AUTHORS = 300
_KEYS_A_COMMAND = 1_000
# A command each would take a minute for a million.
_FILL = """
for index, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[2 + index % (#ARGV - 1)], 'EX', ARGV[1])
end
"""

T = TypeVar("T")


class Audience:
    """People with timelines. They have no accounts: nothing that is pushed asks for one."""

    def __init__(self, bench: Bench, redis: Redis, user_ids: Sequence[int]) -> None:
        self._bench = bench
        self._redis = redis
        self.user_ids = user_ids

    @classmethod
    @asynccontextmanager
    async def of(cls, bench: Bench, size: int, *, entries: int) -> AsyncIterator[Self]:
        """Make people whose timelines have so many entries, and take the timelines away at the end."""
        ids = IdGenerator(_WORKER)
        user_ids = sorted((ids.next() for _ in range(size)), key=lambda user_id: FollowerPosition.of(user_id).sort_key)
        async with Redis.from_url(bench.rig.redis_url) as redis:
            timelines = await _timelines(bench, redis, entries)
            try:
                for some in _batches(user_ids, _KEYS_A_COMMAND):
                    await _fill(redis, some, timelines)
                yield cls(bench, redis, user_ids)
            finally:
                for some in _batches(user_ids, _KEYS_A_COMMAND):
                    await redis.unlink(*map(home_key, some))

    async def authors(self, count: int, followers: int) -> dict[int, Sequence[int]]:
        """Make authors, each with so many followers, who are drawn from these people; give the followers of each."""
        made: dict[int, Sequence[int]] = {}
        for author in await self._bench.crowd.people(count):
            chosen = sorted(random.sample(range(len(self.user_ids)), followers))
            made[author] = [self.user_ids[place] for place in chosen]
            await self._bench.crowd.followers(author, made[author])
        return made


async def _timelines(bench: Bench, redis: Redis, entries: int) -> list[bytes]:
    """Give the same timeline as a store keeps it after every possible number of pushes, from fresh slack to none."""
    ids = IdGenerator(_WORKER)
    made = [Entry(ids.next(), 1 + number % _AUTHORS) for number in range(entries + SLACK)]
    (someone,) = await bench.crowd.people(1)
    async with open_redis(bench.rig.redis_url) as store:
        await store.complete_home(someone, await store.begin_home(someone), made[:entries], 0, marks={}, left={})
        variants = [await _value(redis, home_key(someone))]
        for entry in made[entries:]:
            await store.push_home(entry, [someone])
            variants.append(await _value(redis, home_key(someone)))
    return variants


async def _value(redis: Redis, key: str) -> bytes:
    value = await redis.get(key)
    if not isinstance(value, bytes):
        raise TypeError(f"{key} has no value")
    return value


async def _fill(redis: Redis, user_ids: Sequence[int], timelines: Sequence[bytes]) -> None:
    """Give each a timeline. They are at different points between two rewritings, as those of real people are."""
    keys = [home_key(user_id) for user_id in user_ids]
    await redis.register_script(_FILL)(keys=keys, args=[INACTIVE_DAYS * 86_400, *timelines])


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
