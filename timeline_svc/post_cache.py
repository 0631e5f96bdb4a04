"""Posts kept in the process as bytes ready to be sent, each loaded once by all who want it at the same time.

A copy that was read before a post changed must not outlive the change: the cache remembers the version that it was told of, and
takes no older one.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshkit.single_flight import SingleFlight
from timeline_svc.ports import PostCopy, Posts

_TRIES = 3
_OVERHEAD_BYTES = 300
_VERSIONS = 100_000

Loads = SingleFlight[int, dict[int, bytes | None]]


@dataclass(frozen=True, slots=True)
class _Cached:
    """A post as it is sent; None when there is no such post."""

    item: bytes | None
    until: float

    @property
    def size(self) -> int:
        return _OVERHEAD_BYTES + len(self.item or b"")


class PostCache:
    """Gives posts from memory, and loads what is not there.

    `capacity` bounds the memory for copies, in bytes; `seconds` bounds how long a copy is believed without being told of a change.
    """

    def __init__(
        self, posts: Posts, frame: Callable[[bytes], bytes], loads: Loads, *, capacity: int = 256 * 2**20, seconds: float = 600
    ) -> None:
        self._posts = posts
        self._frame = frame
        self._loads = loads
        self._capacity = capacity
        self._seconds = seconds
        self._size = 0
        self._cached: OrderedDict[int, _Cached] = OrderedDict()
        self._versions: OrderedDict[int, int] = OrderedDict()
        self._generation = 0

    async def items(self, post_ids: Sequence[int]) -> dict[int, bytes]:
        """Give those of the posts that exist, framed for the response. Raises UnavailableError when they cannot be loaded."""
        now = time.monotonic()
        found: dict[int, bytes | None] = {}
        missing = []
        for post_id in post_ids:
            cached = self._cached.get(post_id)
            if cached and cached.until > now:
                self._cached.move_to_end(post_id)
                found[post_id] = cached.item
            else:
                missing.append(post_id)
        if missing:
            for task in self._loads.start(missing, self._load):
                found |= await asyncio.shield(task)
        return {post_id: item for post_id in post_ids if (item := found[post_id]) is not None}

    def changed(self, post_id: int, version: int) -> None:
        """Take note that a post has a new version: the copy goes, and no older one is taken."""
        self._versions[post_id] = max(version, self._versions.pop(post_id, 0))
        if len(self._versions) > _VERSIONS:
            self._versions.popitem(last=False)
        self._loads.forget(post_id)
        self._drop(post_id)

    def missed_changes(self) -> None:
        """Take note that changes may have gone by unheard: every copy goes, also those that are being loaded."""
        self._generation += 1
        for post_id in list(self._cached):
            self._drop(post_id)

    async def _load(self, post_ids: list[int]) -> dict[int, bytes | None]:
        loaded: dict[int, bytes | None] = {}
        wanted = post_ids
        for _ in range(_TRIES):
            generation = self._generation
            copies = await self._posts.lookup(wanted)
            stale = [post_id for post_id in wanted if generation != self._generation or self._is_old(post_id, copies)]
            for post_id in set(wanted).difference(stale):
                loaded[post_id] = self._keep(post_id, copies.get(post_id))
            wanted = stale
            if not wanted:
                break
        # A post that changes faster than it can be read is left out of this answer, not shown in an old version.
        return loaded | dict.fromkeys(wanted)

    def _is_old(self, post_id: int, copies: dict[int, PostCopy]) -> bool:
        return post_id in copies and copies[post_id].version < self._versions.get(post_id, 0)

    def _keep(self, post_id: int, copy: PostCopy | None) -> bytes | None:
        self._drop(post_id)
        cached = _Cached(self._frame(copy.encoded) if copy else None, time.monotonic() + self._seconds)
        self._cached[post_id] = cached
        self._size += cached.size
        while self._size > self._capacity:
            self._drop(next(iter(self._cached)))
        return cached.item

    def _drop(self, post_id: int) -> None:
        cached = self._cached.pop(post_id, None)
        if cached:
            self._size -= cached.size
