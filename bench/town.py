"""10,000 users who follow each other, with timelines that exist, and loads of them."""

import asyncio
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec

from bench.bench import Bench
from bench.open_loop import Outcome, Plan, Probe
from meshkit.process import ChildError
from timeline_svc.packed import Entry
from timeline_svc.ports import TimelineStore
from timeline_svc.redis_store import open_redis

_FOLLOWEES = 20
_POSTS_EACH = 2
_AUTHORS_OF_300 = 20
_FOLLOWERS = 300
_AT_ONCE = 16
_READS, _WRITES = 5, 1


@dataclass(frozen=True, slots=True)
class Town:
    """The users' tokens, in one order, and the authors with 300 followers each by their places among them."""

    folder: Path
    tokens: list[str]
    probes: list[Probe]
    seeds: Iterator[int]

    @classmethod
    async def build(cls, bench: Bench) -> Self:
        """Let users follow 20 others each, and 300 of them each of 20 authors; let all post, and make their timelines."""
        chance = random.Random(1)  # noqa: S311  # the same town in every run
        users = await bench.crowd.people(bench.size(10_000, 400))
        probes = _probes(chance, len(users), bench.size(_FOLLOWERS, 20))
        followees = {user: set(chance.sample(users, _FOLLOWEES)) - {user} for user in users}
        for probe in probes:
            for follower in probe.followers:
                followees[users[follower]].add(users[probe.author])
        await bench.crowd.follow([(user, author) for user, authors in followees.items() for author in authors])
        posts: dict[int, list[int]] = defaultdict(list)
        for _ in range(_POSTS_EACH):
            for user, post in zip(users, await bench.crowd.posts(users), strict=True):
                posts[user].append(post)
        async with open_redis(bench.rig.redis_url) as store:
            await _timelines(store, {user: (user, *authors) for user, authors in followees.items()}, posts)
        return cls(bench.rig.folder, [bench.rig.issuer.user_token(user) for user in users], probes, count())

    async def saturate(self, url: str, seconds: float, *, writes: bool = True) -> float:
        """Give how many requests a second are answered when there are always 32 under way."""
        began = time.perf_counter()
        outcome = await self._run(self._plan(url, 0, seconds, writes=writes, connections=32))
        return (len(outcome.reads) + len(outcome.writes)) / min(seconds, time.perf_counter() - began)

    async def load(self, url: str, rate: float, seconds: float, *, writes: bool = True, probe_rate: float = 0) -> Outcome:
        """Let so many requests a second be due, five reads to a write, and look for so many posts in their followers' feeds."""
        plan = self._plan(url, rate, seconds, writes=writes, connections=64)
        return await self._run(msgspec.structs.replace(plan, probes=self.probes, probe_rate=probe_rate) if probe_rate else plan)

    def _plan(self, url: str, rate: float, seconds: float, *, writes: bool, connections: int) -> Plan:
        address = urlsplit(url)
        return Plan(
            host=address.hostname or "",
            port=address.port or 0,
            tokens=self.tokens,
            rate=rate,
            seconds=seconds,
            writes_of_six=_WRITES if writes else 0,
            connections=connections,
            seed=next(self.seeds),
        )

    async def _run(self, plan: Plan) -> Outcome:
        file = self.folder / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        pipe = asyncio.subprocess.PIPE
        running = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.open_loop", file, stdout=pipe, stderr=pipe)
        answer, complaint = await running.communicate()
        if running.returncode:
            raise ChildError(f"the load failed: {complaint.decode()[-2_000:]}")
        return msgspec.json.decode(answer, type=Outcome)


def _probes(chance: random.Random, users: int, followers: int) -> list[Probe]:
    return [
        Probe(author, [place for place in chance.sample(range(users), followers) if place != author])
        for author in range(_AUTHORS_OF_300)
    ]


async def _timelines(store: TimelineStore, authors: dict[int, Sequence[int]], posts: dict[int, list[int]]) -> None:
    """Make timelines past the service, each with all that its user may see: to have them rebuilt takes much longer."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def make(user: int) -> None:
        async with room:  # all of this, or nobody could connect while 10,000 are sorted
            entries = sorted((Entry(post, author) for author in authors[user] for post in posts[author]), key=lambda e: e.post_id)
            generation = await store.begin_home(user)
            await store.complete_home(user, generation, entries, 0, marks={}, left={})

    async with asyncio.TaskGroup() as tasks:
        for user in authors:
            tasks.create_task(make(user))
