"""Posts kept in the process as bytes ready to be sent; each is loaded once, and never again once nobody may see it.

A copy that was read before a post changed must not outlive the change: the cache remembers the version that it was told of, and
takes no older one.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from timeline_svc.ports import PostCopy, Posts

_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Cached:
    """A post as it is sent; None when there is no such post."""

    item: bytes | None
    until: float


class PostCache:
    """Gives posts from memory, and loads what is not there. `capacity` counts posts; `seconds` bounds how long one is believed."""

    def __init__(self, posts: Posts, frame: Callable[[bytes], bytes], *, capacity: int = 100_000, seconds: float = 600) -> None:
        self._posts = posts
        self._frame = frame
        self._capacity = capacity
        self._seconds = seconds
        self._cached: OrderedDict[int, _Cached] = OrderedDict()
        self._versions: OrderedDict[int, int] = OrderedDict()
        self._loading: dict[int, asyncio.Task[dict[int, bytes | None]]] = {}

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
            found |= await self._load(missing)
        return {post_id: item for post_id, item in found.items() if item is not None}

    def changed(self, post_id: int, version: int) -> None:
        """Take note that a post has a new version: the copy goes, and no older one is taken."""
        self._versions[post_id] = max(version, self._versions.pop(post_id, 0))
        self._cached.pop(post_id, None)
        self._loading.pop(post_id, None)
        if len(self._versions) > self._capacity:
            self._versions.popitem(last=False)

    async def _load(self, post_ids: Sequence[int]) -> dict[int, bytes | None]:
        """Load posts, together with whoever loads them already."""
        new = [post_id for post_id in post_ids if post_id not in self._loading]
        if new:
            task = asyncio.create_task(self._fetch(new))
            self._loading |= dict.fromkeys(new, task)
            task.add_done_callback(lambda done: self._forget(new, done))
        tasks = {self._loading[post_id] for post_id in post_ids}
        loaded: dict[int, bytes | None] = {}
        for task in tasks:
            loaded |= await asyncio.shield(task)
        return {post_id: loaded[post_id] for post_id in post_ids}

    def _forget(self, post_ids: Sequence[int], task: asyncio.Task[dict[int, bytes | None]]) -> None:
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody waiting is no reason to complain
        for post_id in post_ids:
            if self._loading.get(post_id) is task:
                del self._loading[post_id]

    async def _fetch(self, post_ids: Sequence[int]) -> dict[int, bytes | None]:
        result: dict[int, bytes | None] = {}
        wanted = list(post_ids)
        for _ in range(_TRIES):
            copies = await self._posts.lookup(wanted)
            stale = [
                post_id for post_id in wanted if post_id in copies and copies[post_id].version < self._versions.get(post_id, 0)
            ]
            for post_id in set(wanted).difference(stale):
                result[post_id] = self._keep(post_id, copies.get(post_id))
            wanted = stale
            if not wanted:
                break
        # A post that changes faster than it can be read is left out of this answer, not shown in an old version.
        return result | dict.fromkeys(wanted)

    def _keep(self, post_id: int, copy: PostCopy | None) -> bytes | None:
        item = self._frame(copy.encoded) if copy else None
        self._cached[post_id] = _Cached(item, time.monotonic() + self._seconds)
        self._cached.move_to_end(post_id)
        if len(self._cached) > self._capacity:
            self._cached.popitem(last=False)
        return item
