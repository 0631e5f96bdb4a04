"""Timelines on the Redis protocol (Redis 7, Valkey): packed strings, changed only by scripts that are atomic."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.exceptions import OutOfMemoryError

from meshkit.buckets import bucket_of
from meshkit.errors import UnavailableError
from meshkit.ids import id_bytes, id_from
from timeline_svc.packed import Entry, State, Window, new_timeline, pack_entries, tail_bytes
from timeline_svc.ports import STORE_AWAY, HomeWindow
from timeline_svc.redis_node import PASSING, Command, Script
from timeline_svc.redis_servers import Servers, connected_servers
from timeline_svc.redis_url import RedisUrl

HOME_CAP = 800
AUTHOR_CAP = 100
# A server answers in under a millisecond, or under a hundred with 64 large pushes before; who reads has the tables to go to.
READ_SECONDS = 0.25
# A page of 5,000 followers takes about 10 ms, and may wait behind others.
CHANGE_SECONDS = 2.0
_HOME_SECONDS = 30 * 86_400
_AUTHOR_SECONDS = 7 * 86_400
_KEYS_PER_PUSH = 500
_HIDDEN = b"1"
_FOLLOW_CHANGES = "follow-changes:"

_log = structlog.get_logger(__name__)


def home_key(user_id: int) -> str:
    """Where a home timeline is; the bucket in braces keeps what one script touches in one slot."""
    return f"home:{{{bucket_of(user_id)}}}:{user_id}"


def follow_changes_key(user_id: int) -> str:
    """Where a viewer's recent follow changes are, in the same slot as the timeline."""
    return f"{_FOLLOW_CHANGES}{{{bucket_of(user_id)}}}:{user_id}"


def author_key(user_id: int) -> str:
    """Where an author's recent posts are."""
    return f"author:{{{bucket_of(user_id)}}}:{user_id}"


class RedisTimelineStore:
    """The timeline store, on one server or on a cluster. What it raises when a server is away tells of that server only."""

    def __init__(self, servers: Servers, *, read_seconds: float = READ_SECONDS, change_seconds: float = CHANGE_SECONDS) -> None:
        self._servers = servers
        self._read_seconds = read_seconds
        self._change_seconds = change_seconds
        self._begin = Script("begin")
        self._push = Script("push")
        self._merge = Script("merge")
        self._note_follow = Script("note_follow")
        self._settle = Script("settle")

    async def read_home(self, user_id: int, newest: int | None) -> HomeWindow:
        """Read the newest entries of a home timeline (None: all), in one round trip.

        Putting off its end is a write: a server that takes none may have missed pushes, and is not read either.
        """
        key = home_key(user_id)
        commands = (
            Command((key,), ("GETRANGE", key, 0 if newest is None else -tail_bytes(newest), -1)),
            Command((key,), ("HGETALL", follow_changes_key(user_id))),
            Command((key,), ("EXPIRE", key, _HOME_SECONDS)),
        )
        tail, changes, _ = _all(await self._servers.run(commands, self._read_seconds))
        hidden = frozenset(id_from(author) for author, change in changes.items() if change[8:] == _HIDDEN)
        oldest = min((id_from(change[:8]) for change in changes.values()), default=0)
        return HomeWindow(Window.unpack(tail), hidden, oldest)

    async def push_home(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist; once, and in order. Give how many hold it.

        Where a server is away, those on the others have it all the same.
        """
        arguments = (entry.pack(), HOME_CAP)
        groups = self._servers.together([home_key(user_id) for user_id in user_ids])
        slices = [keys[start : start + _KEYS_PER_PUSH] for keys in groups for start in range(0, len(keys), _KEYS_PER_PUSH)]
        return await self._push_all([self._push.call(keys, arguments) for keys in slices])

    async def begin_home(self, user_id: int) -> bytes:
        """Make an empty home timeline that takes pushes and is not ready, if there is none; give its generation."""
        begin = self._begin.call((home_key(user_id),), (new_timeline(), _HOME_SECONDS))
        (generation,) = _all(await self._change([begin]))
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
        return _all(await self._change([self._merge.call(keys, arguments)])) == [1]

    async def note_follow(self, follower_id: int, followee_id: int, version: int, *, following: bool) -> int | None:
        """Note a follow or unfollow; an unfollowed author's entries go, and stay hidden. Give the timeline's floor."""
        keys = (follow_changes_key(follower_id), home_key(follower_id))
        arguments = (id_bytes(followee_id), id_bytes(version), int(not following), _HOME_SECONDS + 86_400, HOME_CAP)
        (floor,) = _all(await self._change([self._note_follow.call(keys, arguments)]))
        return None if floor is None else id_from(floor)

    async def _push_all(self, calls: Sequence[Command]) -> int:
        """Push, and count. A timeline that is removed lacks the entry no more than a missing one does: the push is done."""
        answers = await self._change(calls)
        return sum(_all([0 if isinstance(answer, OutOfMemoryError) else answer for answer in answers]))

    async def _change(self, calls: Sequence[Command]) -> list[Any]:
        """Run scripts that change timelines. Those that a server has no memory to change go: missing, they mislead nobody."""
        answers = await self._servers.run(calls, self._change_seconds)
        failed = [call for call, answer in zip(calls, answers, strict=True) if isinstance(answer, OutOfMemoryError)]
        if failed:
            removed = sum(_all(await self._servers.run([_unlink(call) for call in failed], self._change_seconds)))
            if removed:
                _log.error("server is full: removed timelines that it could not change", timelines=removed)
        return answers

    async def settle(self, user_id: int, before_version: int) -> None:
        """Forget follow changes older than a version."""
        keys = (follow_changes_key(user_id), home_key(user_id))
        _all(await self._servers.run([self._settle.call(keys, (id_bytes(before_version), HOME_CAP))], self._change_seconds))

    async def read_authors(self, author_ids: Sequence[int]) -> dict[int, Window]:
        """Read authors' recent posts; those that are missing, not ready, or on a server that is away are left out."""
        authors = {author_key(author_id): author_id for author_id in author_ids}
        groups = self._servers.together(list(authors))
        answers = await self._servers.run([Command(keys, ("MGET", *keys)) for keys in groups], self._read_seconds)
        values = {key: value for number, found in _some(answers).items() for key, value in zip(groups[number], found, strict=True)}
        windows = {authors[key]: Window.unpack(value or b"") for key, value in values.items()}
        return {author_id: window for author_id, window in windows.items() if window and window.state is State.READY}

    async def push_author(self, entry: Entry) -> None:
        """Put an entry among its author's recent posts, if they exist."""
        await self._push_all([self._push.call((author_key(entry.author_id),), (entry.pack(), AUTHOR_CAP))])

    async def begin_authors(self, author_ids: Sequence[int]) -> dict[int, bytes]:
        """Make authors' recent posts that are empty, take pushes, and are not ready, where there are none; give the generations.

        Authors on a server that is away are left out.
        """
        begins = [self._begin.call((author_key(author_id),), (new_timeline(), _AUTHOR_SECONDS)) for author_id in author_ids]
        return {author_ids[number]: generation for number, generation in _some(await self._change(begins)).items()}

    async def complete_authors(
        self, begun: Mapping[int, bytes], posts: Mapping[int, Sequence[int]], *, complete_below: int
    ) -> None:
        """Merge the newest post ids (descending) of each author that was begun, and make them ready.

        Fewer than `complete_below` ids are all that the author has.
        """
        merges: list[Command] = []
        for author_id, generation in begun.items():
            ids = posts[author_id]
            floor = 0 if len(ids) < complete_below else ids[-1]
            packed = pack_entries([Entry(post_id, author_id) for post_id in reversed(ids)])
            merges.append(self._merge.call((author_key(author_id),), (packed, id_bytes(floor), AUTHOR_CAP, generation)))
        _all(await self._change(merges))


def _unlink(call: Command) -> Command:
    """Make the command that removes the timelines of a script call; the follow changes stay."""
    keys = (word for word in call.keys if not word.startswith(_FOLLOW_CHANGES))
    return Command(call.keys, ("UNLINK", *keys))


def _all(answers: list[Any]) -> list[Any]:
    """Give answers, all of which are needed: one whose server is away fails them all. Any other failure is a bug and shows."""
    for answer in answers:
        if isinstance(answer, PASSING):
            raise UnavailableError("timelines are not available now; try again", reason=STORE_AWAY) from answer
        if isinstance(answer, Exception):
            raise answer
    return answers


def _some(answers: list[Any]) -> dict[int, Any]:
    """Give answers that are of use each by itself, by their place, without those whose server is away; unless all are."""
    good = {number: answer for number, answer in enumerate(answers) if not isinstance(answer, PASSING)}
    _all(list(good.values()) or answers)
    return good


@asynccontextmanager
async def open_redis(
    url: str, *, read_seconds: float = READ_SECONDS, change_seconds: float = CHANGE_SECONDS
) -> AsyncIterator[RedisTimelineStore]:
    """Open a store at a URL that RedisUrl understands; else ValueError. Nothing is connected before it is needed."""
    async with connected_servers(RedisUrl.parse(url)) as servers:
        yield RedisTimelineStore(servers, read_seconds=read_seconds, change_seconds=change_seconds)
