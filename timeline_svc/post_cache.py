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
_CHANGES = 100_000

Loads = SingleFlight[int, dict[int, bytes | None]]


@dataclass(frozen=True, slots=True)
class _Cached:
    """A post as it is sent; None when there is no such post."""

    item: bytes | None
    until: float

    @property
    def size(self) -> int:
        return _OVERHEAD_BYTES + len(self.item or b"")


@dataclass(frozen=True, slots=True)
class _Change:
    """The newest version that was told of a post, and the number of that change among all."""

    version: int
    number: int


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
        self._changed: OrderedDict[int, _Change] = OrderedDict()
        self._change = 0
        self._missed = 0

    async def items(self, post_ids: Sequence[int]) -> dict[int, bytes]:
        """Give those of the posts that exist, framed for the response. Raises UnavailableError when they cannot be loaded."""
        found: dict[int, bytes | None] = {}
        wanted = list(post_ids)
        for _ in range(_TRIES):
            seen = self._change
            found |= await self._find(wanted)
            # One post may have changed while another was loaded.
            wanted = [post_id for post_id in post_ids if self._last_change(post_id) > seen]
            if not wanted:
                break
        # A post that changes faster than it can be read is left out of this answer, not shown in an old version.
        late = set(wanted)
        return {post_id: item for post_id in post_ids if (item := found[post_id]) is not None and post_id not in late}

    async def _find(self, post_ids: Sequence[int]) -> dict[int, bytes | None]:
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
        return found

    def changed(self, post_id: int, version: int) -> None:
        """Take note that a post has a new version: the copy goes, and no older one is taken."""
        self._change += 1
        known = self._changed.pop(post_id, None)
        self._changed[post_id] = _Change(max(version, known.version if known else 0), self._change)
        if len(self._changed) > _CHANGES:
            self._changed.popitem(last=False)
        self._loads.forget(post_id)
        self._drop(post_id)

    def missed_changes(self) -> None:
        """Take note that changes may have gone by unheard: every copy goes, also those that are being loaded."""
        self._change += 1
        self._missed = self._change
        self._loads.forget_all()
        for post_id in list(self._cached):
            self._drop(post_id)

    def _last_change(self, post_id: int) -> int:
        """Give the number of the last change that may have touched a post."""
        known = self._changed.get(post_id)
        return max(self._missed, known.number if known else 0)

    async def _load(self, post_ids: list[int]) -> dict[int, bytes | None]:
        seen = self._change
        copies = await self._posts.lookup(post_ids)
        return {post_id: self._take(post_id, copies.get(post_id), seen) for post_id in post_ids}

    def _take(self, post_id: int, copy: PostCopy | None, seen: int) -> bytes | None:
        """Keep a copy, unless the post changed while it was read; then whoever waits for it reads again."""
        if self._last_change(post_id) > seen:
            return None
        known = self._changed.get(post_id)
        if copy and known and copy.version < known.version:
            return None
        return self._keep(post_id, copy)

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
