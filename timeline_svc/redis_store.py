"""Timelines on the Redis protocol (Redis 7, Valkey): packed strings, changed only by scripts that are atomic."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from meshkit.buckets import bucket_of
from meshkit.errors import UnavailableError
from meshkit.ids import id_bytes, id_from
from timeline_svc.packed import Entry, State, Window, new_timeline, pack_entries, tail_bytes
from timeline_svc.ports import STORE_AWAY, HomeWindow

HOME_CAP = 800
AUTHOR_CAP = 100
_HOME_SECONDS = 30 * 86_400
_AUTHOR_SECONDS = 7 * 86_400
_KEYS_PER_PUSH = 500
_CONNECTIONS = 64
_HIDDEN = b"1"
_FOLLOW_CHANGES = "follow-changes:"
_AWAY = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, OSError)


def home_key(user_id: int) -> str:
    """Where a home timeline is; the bucket in braces keeps what one script touches on one shard."""
    return f"home:{{{bucket_of(user_id)}}}:{user_id}"


def follow_changes_key(user_id: int) -> str:
    """Where a viewer's recent follow changes are, on the same shard as the timeline."""
    return f"{_FOLLOW_CHANGES}{{{bucket_of(user_id)}}}:{user_id}"


def author_key(user_id: int) -> str:
    """Where an author's recent posts are."""
    return f"author:{{{bucket_of(user_id)}}}:{user_id}"


_Call = tuple[Sequence[str], Sequence[bytes | int]]


class _Script:
    """A Lua script, sent by its hash; its text follows when the server does not know it."""

    def __init__(self, name: str) -> None:
        folder = files("timeline_svc") / "lua"
        self._text = (folder / "packed.lua").read_text() + (folder / f"{name}.lua").read_text()
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def call(self, redis: Redis, calls: Sequence[_Call]) -> list[Any]:
        """Run the script once for each (keys, arguments), all in one round trip. A script may run again: all are idempotent."""
        try:
            return await self._run(redis, calls)
        except NoScriptError:
            await redis.script_load(self._text)
            return await self._run(redis, calls)

    async def _run(self, redis: Redis, calls: Sequence[_Call]) -> list[Any]:
        pipeline = redis.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.evalsha(self._sha, len(keys), *keys, *arguments)
        return list(await pipeline.execute())


class RedisTimelineStore:
    """The timeline store on one server."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._begin = _Script("begin")
        self._push = _Script("push")
        self._merge = _Script("merge")
        self._note_follow = _Script("note_follow")
        self._settle = _Script("settle")

    async def read_home(self, user_id: int, newest: int | None) -> HomeWindow:
        """Read the newest entries of a home timeline (None: all), in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.getrange(home_key(user_id), 0 if newest is None else -tail_bytes(newest), -1)
        pipeline.hgetall(follow_changes_key(user_id))
        pipeline.expire(home_key(user_id), _HOME_SECONDS)
        with _failures():
            tail, changes, _ = await pipeline.execute()
        hidden = frozenset(id_from(author) for author, change in changes.items() if change[8:] == _HIDDEN)
        oldest = min((id_from(change[:8]) for change in changes.values()), default=0)
        return HomeWindow(Window.unpack(tail), hidden, oldest)

    async def push_home(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist; once, and in order. Give how many hold it."""
        keys = [home_key(user_id) for user_id in user_ids]
        slices = [keys[start : start + _KEYS_PER_PUSH] for start in range(0, len(keys), _KEYS_PER_PUSH)]
        with _failures():
            return sum(await self._change(self._push, [(part, (entry.pack(), HOME_CAP)) for part in slices]))

    async def begin_home(self, user_id: int) -> bytes:
        """Make an empty home timeline that takes pushes and is not ready, if there is none; give its generation."""
        with _failures():
            (generation,) = await self._change(self._begin, [((home_key(user_id),), (new_timeline(), _HOME_SECONDS))])
        return bytes(generation)

    async def complete_home(self, user_id: int, generation: bytes, entries: Sequence[Entry], floor: int) -> bool:
        """Merge entries (ascending, complete from `floor` on) into the timeline that was begun, and make it ready."""
        return await self._merge_home(user_id, entries, floor, generation)

    async def add_home(self, user_id: int, entries: Sequence[Entry], floor: int) -> bool:
        """Merge some more entries (ascending, complete from `floor` on) into a home timeline; False if there is none."""
        return await self._merge_home(user_id, entries, floor, b"")

    async def _merge_home(self, user_id: int, entries: Sequence[Entry], floor: int, generation: bytes) -> bool:
        keys = (home_key(user_id), follow_changes_key(user_id))
        arguments = (pack_entries(list(entries)), id_bytes(floor), HOME_CAP, generation)
        with _failures():
            return await self._change(self._merge, [(keys, arguments)]) == [1]

    async def note_follow(self, follower_id: int, followee_id: int, version: int, *, following: bool) -> int | None:
        """Note a follow or unfollow; an unfollowed author's entries go, and stay hidden. Give the timeline's floor."""
        keys = (follow_changes_key(follower_id), home_key(follower_id))
        arguments = (id_bytes(followee_id), id_bytes(version), int(not following), _HOME_SECONDS + 86_400, HOME_CAP)
        with _failures():
            (floor,) = await self._change(self._note_follow, [(keys, arguments)])
        return None if floor is None else id_from(floor)

    async def _change(self, script: _Script, calls: Sequence[_Call]) -> list[Any]:
        """Run a script that changes timelines. Those that the server has no memory to change go: missing, they mislead nobody."""
        try:
            return await script.call(self._redis, calls)
        except OutOfMemoryError:
            keys = [key for keys, _ in calls for key in keys if not key.startswith(_FOLLOW_CHANGES)]
            await self._redis.unlink(*keys)
            raise

    async def settle(self, user_id: int, before_version: int) -> None:
        """Forget follow changes older than a version."""
        keys = (follow_changes_key(user_id), home_key(user_id))
        with _failures():
            await self._settle.call(self._redis, [(keys, (id_bytes(before_version), HOME_CAP))])

    async def read_authors(self, author_ids: Sequence[int]) -> dict[int, Window]:
        """Read authors' recent posts; those that are missing or not ready are left out."""
        if not author_ids:
            return {}
        with _failures():
            values = cast("list[bytes | None]", await self._redis.mget([author_key(author_id) for author_id in author_ids]))
        windows = zip(author_ids, (Window.unpack(value or b"") for value in values), strict=True)
        return {author_id: window for author_id, window in windows if window and window.state is State.READY}

    async def push_author(self, entry: Entry) -> None:
        """Put an entry among its author's recent posts, if they exist."""
        with _failures():
            await self._change(self._push, [((author_key(entry.author_id),), (entry.pack(), AUTHOR_CAP))])

    async def begin_authors(self, author_ids: Sequence[int]) -> dict[int, bytes]:
        """Make authors' recent posts that are empty, take pushes, and are not ready, where there are none; give the generations."""
        calls: list[_Call] = [((author_key(author_id),), (new_timeline(), _AUTHOR_SECONDS)) for author_id in author_ids]
        with _failures():
            generations = await self._change(self._begin, calls)
        return dict(zip(author_ids, generations, strict=True))

    async def complete_authors(
        self, begun: Mapping[int, bytes], posts: Mapping[int, Sequence[int]], *, complete_below: int
    ) -> None:
        """Merge the newest post ids (descending) of each author that was begun, and make them ready.

        Fewer than `complete_below` ids are all that the author has.
        """
        calls: list[_Call] = []
        for author_id, generation in begun.items():
            ids = posts[author_id]
            floor = 0 if len(ids) < complete_below else ids[-1]
            packed = pack_entries([Entry(post_id, author_id) for post_id in reversed(ids)])
            calls.append(((author_key(author_id),), (packed, id_bytes(floor), AUTHOR_CAP, generation)))
        with _failures():
            await self._change(self._merge, calls)


class _failures:  # noqa: N801 - reads as the statement that it is
    """Turns a store that cannot serve now into our own error. Any other answer than expected is a bug, and shows as one."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _AWAY):
            raise UnavailableError("timelines are not available now; try again", reason=STORE_AWAY) from error


@asynccontextmanager
async def open_redis(url: str, *, seconds: float = 1.0) -> AsyncIterator[RedisTimelineStore]:
    """Connect to `redis://…` or `unix://…`. Connecting, waiting for a connection and each answer take `seconds` at most."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=_CONNECTIONS, timeout=seconds, socket_timeout=seconds, socket_connect_timeout=seconds
    )
    async with Redis.from_pool(pool) as redis:
        yield RedisTimelineStore(redis)
