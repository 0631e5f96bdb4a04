#!/usr/bin/env python3
"""Measures what 800 timeline entries cost in Valkey in three forms.

Run it from the project's root with `.venv/bin/python bench/timeline_memory.py`. It starts a private Valkey of its own in a
temporary folder, and stops it again.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from redis.asyncio import Redis

from meshkit.ids import IdGenerator, id_bytes
from meshkit.valkey import private_valkey
from timeline_svc.packed import Entry, State
from timeline_svc.redis_store import home_key, open_redis

ENTRIES = 800
_VIEWER, _AUTHORS = 1, 300


async def _memory(redis: Redis, key: str) -> int:
    return await redis.memory_usage(key) or 0


async def _report(redis: Redis, form: str, key: str) -> None:
    used = await _memory(redis, key)
    sys.stdout.write(f"{form:<40} {used:>7,} bytes   {used / ENTRIES:6.1f} an entry\n")


async def main() -> None:
    """Build the same timeline three times and print `MEMORY USAGE` of each."""
    ids = IdGenerator(worker=0)
    entries = [Entry(ids.next(), 1 + number % _AUTHORS) for number in range(ENTRIES)]
    with tempfile.TemporaryDirectory() as folder:
        async with private_valkey(Path(folder)) as url, Redis.from_url(url) as redis, open_redis(url) as store:
            await store.complete_home(_VIEWER, await store.begin_home(_VIEWER), [], 0, marks={}, left={})
            most = 0
            for entry in entries:
                await store.push_home(entry, [_VIEWER])
                await redis.append("appended", entry.pack())
                await redis.zadd("sorted", {id_bytes(entry.author_id) + id_bytes(entry.post_id): entry.post_id})
                most = max(most, await _memory(redis, "appended"))
            window = (await store.read_home(_VIEWER, None)).window
            if window is None or window.state is not State.READY or len(window.post_ids) != ENTRIES:
                raise RuntimeError("the pushed timeline does not hold what was pushed")
            await _report(redis, "packed, by the push script", home_key(_VIEWER))
            await _report(redis, "packed, by APPEND", "appended")
            await _report(redis, "sorted set, by ZADD", "sorted")
            sys.stdout.write(f"the APPEND string was largest at {most:,} bytes on its way\n")


if __name__ == "__main__":
    asyncio.run(main())
