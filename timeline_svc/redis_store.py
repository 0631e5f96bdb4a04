"""Timelines on the Redis protocol (Redis 7, Valkey): packed strings, changed only by scripts that are atomic."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.exceptions import OutOfMemoryError

from meshkit.buckets import bucket_of
from meshkit.clock import now_ms
from meshkit.errors import UnavailableError
from meshkit.ids import first_id_at, id_bytes, id_from
from timeline_svc.packed import Entry, State, Window, new_timeline, pack_entries, tail_bytes
from timeline_svc.ports import STORE_AWAY, HomeWindow
from timeline_svc.redis_node import PASSING, Command, Script
from timeline_svc.redis_servers import Servers, connected_servers
from timeline_svc.redis_url import RedisUrl
from timeline_svc.segment import Segment
from timeline_svc.sources import Sources, head, pack_marks, pack_turn

HOME_CAP = 800
AUTHOR_CAP = 100
# A server answers in under a millisecond, or under a hundred with 64 large pushes before; who reads has the tables to go to.
READ_SECONDS = 0.25
# A page of 5,000 followers takes about 10 ms, and may wait behind others.
CHANGE_SECONDS = 2.0
INACTIVE_DAYS = 30
_AUTHOR_SECONDS = 7 * 86_400
# A timeline that was begun so long ago, and is not ready, nobody makes any more.
_ABANDONED_MS = 600_000
_SEGMENT_SECONDS = 120
_KEYS_PER_SCRIPT = 500
_SOURCES = "sources:"

_log = structlog.get_logger(__name__)


def home_key(user_id: int) -> str:
    """Where a home timeline is; the bucket in braces keeps what one script touches in one slot."""
    return f"home:{{{bucket_of(user_id)}}}:{user_id}"


def sources_key(user_id: int) -> str:
    """Where it is what stands beside a home timeline, in the same slot."""
    return f"{_SOURCES}{{{bucket_of(user_id)}}}:{user_id}"


def segment_key(user_id: int) -> str:
    """Where the segment below a home timeline is, in the same slot."""
    return f"segment:{{{bucket_of(user_id)}}}:{user_id}"


def author_key(user_id: int) -> str:
    """Where an author's recent posts are."""
    return f"author:{{{bucket_of(user_id)}}}:{user_id}"


class RedisTimelineStore:
    """The timeline store, on one server or on a cluster. What it raises when a server is away tells of that server only.

    A home timeline that nobody reads for `inactive_days` goes.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        inactive_days: float = INACTIVE_DAYS,
        read_seconds: float = READ_SECONDS,
        change_seconds: float = CHANGE_SECONDS,
    ) -> None:
        self._servers = servers
        self._home_seconds = max(1, int(inactive_days * 86_400))
        self._read_seconds = read_seconds
        self._change_seconds = change_seconds
        self._begin = Script("begin")
        self._push = Script("push")
        self._merge = Script("merge")
        self._note_source = Script("note_source")
        self._mark = Script("mark")
        self._unmark = Script("unmark")
        self._settle = Script("settle")

    async def read_home(self, user_id: int, newest: int | None) -> HomeWindow:
        """Read the newest entries of a home timeline, or all of it and the segment below (None), in one round trip.

        Putting off its end is a write: a server that takes none may have missed pushes, and is not read either.
        """
        key, beside = home_key(user_id), sources_key(user_id)
        commands = [
            # Before the entries: a note that goes in between goes with what it hides.
            Command((key,), ("HGETALL", beside)),
            Command((key,), ("GETRANGE", key, 0 if newest is None else -tail_bytes(newest), -1)),
            Command((key,), ("EXPIRE", key, self._home_seconds)),
            Command((key,), ("EXPIRE", beside, self._home_seconds)),
        ]
        if newest is None:
            commands.append(Command((key,), ("GET", segment_key(user_id))))
        values, tail, _, _, *kept = _all(await self._servers.run(commands, self._read_seconds))
        window, sources = Window.unpack(tail), Sources.unpack(values)
        if window and window.generation != sources.generation:
            window = None
        return HomeWindow(window, sources, Segment.unpack(kept[0]) if kept and kept[0] else None)

    async def push_home(self, entry: Entry, user_ids: Sequence[int]) -> int:
        """Put an entry into the home timelines that exist; once, and in order. Give how many hold it.

        Where a server is away, those on the others have it all the same.
        """
        arguments = (entry.pack(), HOME_CAP)
        slices = self._slices([home_key(user_id) for user_id in user_ids])
        return await self._push_all([self._push.call(keys, arguments) for keys in slices])

    def _slices(self, keys: Sequence[str]) -> list[Sequence[str]]:
        """Cut keys into parts that a script call may take: not too many, and all on one server."""
        groups = self._servers.together(keys)
        return [part[start : start + _KEYS_PER_SCRIPT] for part in groups for start in range(0, len(part), _KEYS_PER_SCRIPT)]

    async def begin_home(self, user_id: int) -> bytes:
        """Make an empty home timeline that takes pushes and is not ready, if there is none; give its generation."""
        now = now_ms()
        since = id_bytes(first_id_at(now - _ABANDONED_MS))
        arguments = (new_timeline(), self._home_seconds, head(first_id_at(now)), since)
        begin = self._begin.call((home_key(user_id), sources_key(user_id)), arguments)
        (generation,) = _all(await self._change([begin]))
        return bytes(generation)

    async def complete_home(
        self,
        user_id: int,
        generation: bytes,
        entries: Sequence[Entry],
        floor: int,
        *,
        marks: Mapping[int, int],
        left: Mapping[int, int],
        back: Mapping[int, int] | None = None,
    ) -> bool:
        """Merge entries (ascending, complete from `floor` on) into the timeline that was begun, and make it ready."""
        flagged = [(left, b"1"), (back or {}, b"0")]
        changes = b"".join(id_bytes(a) + id_bytes(v) + flag for notes, flag in flagged for a, v in notes.items())
        return await self._merge_home(user_id, entries, floor, generation, pack_marks(marks), changes)

    async def add_home(self, user_id: int, entries: Sequence[Entry], floor: int) -> bool:
        """Merge some more entries (ascending, complete from `floor` on) into a home timeline; False if there is none."""
        return await self._merge_home(user_id, entries, floor, b"", b"", b"")

    async def _merge_home(
        self, user_id: int, entries: Sequence[Entry], floor: int, generation: bytes, marks: bytes, left: bytes
    ) -> bool:
        keys = (home_key(user_id), sources_key(user_id))
        arguments = (pack_entries(list(entries)), id_bytes(floor), HOME_CAP, generation, marks, left)
        return _all(await self._change([self._merge.call(keys, arguments)])) == [1]

    async def note_source(self, user_id: int, author_id: int, version: int, *, came: bool, turn: int = 0) -> int | None:
        """Note that an author's posts came into a feed or went. Give the timeline's floor."""
        keys = (sources_key(user_id), home_key(user_id))
        arguments = (id_bytes(author_id), id_bytes(version), int(not came), self._home_seconds, HOME_CAP, pack_turn(turn))
        (floor,) = await self._change([self._note_source.call(keys, arguments)])
        if isinstance(floor, OutOfMemoryError):
            return None  # the timeline is removed: it shows nothing
        _all([floor])
        return None if floor is None else id_from(floor)

    async def mark_pulled(self, author_id: int, turn: int, user_ids: Sequence[int]) -> int:
        """Mark an author as pulled in the timelines that exist. Give how many are marked."""
        arguments = (id_bytes(author_id), pack_turn(turn))
        slices = self._slices([sources_key(user_id) for user_id in user_ids])
        return await self._push_all([self._mark.call(keys, arguments) for keys in slices])

    async def unmark_pulled(self, user_id: int, marks: Mapping[int, int]) -> None:
        """Take marks away that are not of a later turn than the one given for each author."""
        _all(await self._change([self._unmark.call((sources_key(user_id),), (pack_marks(marks),))]))

    async def keep_segment(self, user_id: int, segment: Segment) -> None:
        """Keep a segment for the next pages, in the place of an earlier one."""
        key = segment_key(user_id)
        _all(await self._servers.run([Command((key,), ("SET", key, segment.pack(), "EX", _SEGMENT_SECONDS))], self._change_seconds))

    async def _push_all(self, calls: Sequence[Command]) -> int:
        """Push, and count. A timeline that is removed lacks the entry no more than a missing one does: the push is done."""
        answers = await self._change(calls)
        return sum(_all([0 if _is_removed(answer) else answer for answer in answers]))

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
        """Forget changes of sources older than a version."""
        keys = (sources_key(user_id), home_key(user_id))
        _all(await self._servers.run([self._settle.call(keys, (id_bytes(before_version), HOME_CAP))], self._change_seconds))

    async def read_authors(self, author_ids: Sequence[int]) -> dict[int, Window]:
        """Read authors' recent posts; those that are missing, not ready, or on a server that is away are left out."""
        authors = {author_key(author_id): author_id for author_id in author_ids}
        groups = self._servers.together(list(authors))
        answers = await self._servers.run([Command(keys, ("MGET", *keys)) for keys in groups], self._read_seconds)
        values = {key: value for number, found in _some(answers).items() for key, value in zip(groups[number], found, strict=True)}
        windows = {authors[key]: Window.unpack(value or b"") for key, value in values.items()}
        return {author_id: window for author_id, window in windows.items() if window and window.state is State.READY}

    async def push_own(self, entries: Sequence[Entry]) -> list[int]:
        """Put entries among their authors' recent posts and into the authors' own timelines, all in one round trip.

        Give the places of those for which a server is away; UnavailableError when that are all.
        """
        calls: list[Command] = []
        for entry in entries:
            packed = entry.pack()
            calls.append(self._push.call((author_key(entry.author_id),), (packed, AUTHOR_CAP)))
            calls.append(self._push.call((home_key(entry.author_id),), (packed, HOME_CAP)))
        answers = await self._change(calls)
        away = {number for number, answer in enumerate(answers) if isinstance(answer, PASSING) and not _is_removed(answer)}
        _all([answer for number, answer in enumerate(answers) if number not in away and not _is_removed(answer)])
        places = sorted({number // 2 for number in away})
        if len(places) == len(entries):
            _all([answers[number] for number in away])
        return places

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


def _is_removed(answer: object) -> bool:
    """Tell whether a timeline was removed, because its server has no memory to change it."""
    return isinstance(answer, OutOfMemoryError)


def _unlink(call: Command) -> Command:
    """Make the command that removes the timelines of a script call; without one, what stands beside it is read by nobody."""
    return Command(call.keys, ("UNLINK", *call.keys))


def _all(answers: list[Any]) -> list[Any]:
    """Give answers, all of which are needed: one whose server is away fails them all. Any other failure is a bug and shows."""
    for answer in answers:
        if isinstance(answer, Exception):
            if isinstance(answer, PASSING):
                raise UnavailableError("timelines are not available now; try again", reason=STORE_AWAY) from answer
            raise answer
    return answers


def _some(answers: list[Any]) -> dict[int, Any]:
    """Give answers that are of use each by itself, by their place, without those whose server is away; unless all are."""
    good = {number: answer for number, answer in enumerate(answers) if not isinstance(answer, PASSING)}
    _all(list(good.values()) or answers)
    return good


@asynccontextmanager
async def open_redis(
    url: str,
    *,
    inactive_days: float = INACTIVE_DAYS,
    read_seconds: float = READ_SECONDS,
    change_seconds: float = CHANGE_SECONDS,
) -> AsyncIterator[RedisTimelineStore]:
    """Open a store at a URL that RedisUrl understands; else ValueError. Nothing is connected before it is needed."""
    async with connected_servers(RedisUrl.parse(url)) as servers:
        yield RedisTimelineStore(servers, inactive_days=inactive_days, read_seconds=read_seconds, change_seconds=change_seconds)
