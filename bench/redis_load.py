"""What Redis can do by itself: the references of fan-out."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import unquote

from redis import Redis

from meshkit.ids import id_bytes
from meshkit.process import ChildError
from timeline_svc.packed import ENTRY_BYTES
from timeline_svc.redis_store import HOME_CAP

_RATE = re.compile(r"([\d.]+) requests per second")
_PIPELINE = 50
_FOLLOWERS_A_PIPELINE = 500
_KEYS_A_COMMAND = 1_000


class Appends:
    """`APPEND` of 16 bytes to keys that exist, by redis-benchmark: one thread, many commands in a write."""

    def __init__(self, url: str, keys: int) -> None:
        self._url = url
        self._keys = keys

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, keys: int) -> AsyncIterator[Self]:
        """Make the keys, each with one entry, and remove them at the end."""
        names = [f"raw:{key:012d}" for key in range(keys)]
        await asyncio.to_thread(_fill, url, names)
        yield cls(url, keys)
        await asyncio.to_thread(_remove, url, names)

    async def rate(self, count: int) -> float:
        """Append so many times, and give how often a second. Raises ChildError when that cannot be."""
        if not shutil.which("redis-benchmark"):
            raise ChildError("redis-benchmark is not installed: run scripts/install-bench-tools")
        options = {"-s": unquote(self._url.removeprefix("unix://")), "-n": str(count), "-r": str(self._keys), "-P": str(_PIPELINE)}
        words = [word for option in options.items() for word in option]
        command = ("redis-benchmark", "-q", *words, "APPEND", "raw:__rand_int__", "x" * ENTRY_BYTES)
        running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await running.communicate()
        rates = _RATE.findall(output.decode())
        if not rates:
            raise ChildError(f"redis-benchmark did not report: {output.decode()}")
        return float(rates[-1])


class SortedSets:
    """A sorted set for each follower, as feeds are usually kept in Redis."""

    def __init__(self, url: str, followers: Sequence[int], *, entries: int) -> None:
        self._url = url
        self._keys = [f"sorted:{follower}" for follower in followers]
        self._entries = entries
        self._newest = entries

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, followers: Sequence[int], *, entries: int) -> AsyncIterator[Self]:
        """Make the sets, each with so many entries, and remove them at the end."""
        sets = cls(url, followers, entries=entries)
        await asyncio.to_thread(sets._fill)
        yield sets
        await asyncio.to_thread(_remove, url, sets._keys)

    def __len__(self) -> int:
        return len(self._keys)

    async def push(self) -> None:
        """Add an entry to each, and cut it to the newest, pipelined from Python."""
        self._newest += 1
        await asyncio.to_thread(self._push, self._newest)

    def _fill(self) -> None:
        content = {id_bytes(number) + id_bytes(1): number for number in range(self._entries)}
        with Redis.from_url(self._url) as redis:
            for key in self._keys:
                redis.zadd(key, content)

    def _push(self, post: int) -> None:
        member = {id_bytes(post) + id_bytes(1): post}
        with Redis.from_url(self._url) as redis:
            for start in range(0, len(self._keys), _FOLLOWERS_A_PIPELINE):
                pipeline = redis.pipeline(transaction=False)
                for key in self._keys[start : start + _FOLLOWERS_A_PIPELINE]:
                    pipeline.zadd(key, member)
                    pipeline.zremrangebyrank(key, 0, -1 - HOME_CAP)
                pipeline.execute()


def _fill(url: str, keys: Sequence[str]) -> None:
    with Redis.from_url(url) as redis:
        for start in range(0, len(keys), _KEYS_A_COMMAND):
            redis.mset(dict.fromkeys(keys[start : start + _KEYS_A_COMMAND], b"x" * ENTRY_BYTES))


def _remove(url: str, keys: Sequence[str]) -> None:
    with Redis.from_url(url) as redis:
        for start in range(0, len(keys), _KEYS_A_COMMAND):
            redis.unlink(*keys[start : start + _KEYS_A_COMMAND])
