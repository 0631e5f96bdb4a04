"""Posts kept in the process as bytes ready to be sent, each loaded once by all who want it at the same time.

A copy that was read before a post changed must not outlive the change: the cache remembers the version that it was told of, and
takes no older one. After changes that it could not hear of, a copy is shown only to those who asked before its load began: it holds
all that was acknowledged until they asked. Nobody else gets it, since it is not kept.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshkit.clock import now_ms
from meshkit.ids import first_id_at
from meshkit.single_flight import SingleFlight
from timeline_svc.ports import PostCopy, Posts

_TRIES = 3
_OVERHEAD_BYTES = 300
_CHANGES = 100_000
_SETTLED_MS = 60_000


@dataclass(frozen=True, slots=True)
class _Copy:
    """A post as it is sent; None when there is no such post. `began` is the moment when its load began."""

    item: bytes | None
    began: int
    until: float

    @property
    def size(self) -> int:
        return _OVERHEAD_BYTES + len(self.item or b"")


Loads = SingleFlight[int, dict[int, _Copy]]


@dataclass(frozen=True, slots=True)
class _Change:
    """The newest version that was told of a post, and the moment when something was told last."""

    version: int
    moment: int


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
        self._cached: OrderedDict[int, _Copy] = OrderedDict()
        self._changed: OrderedDict[int, _Change] = OrderedDict()
        self._forgotten = 0  # the last moment of which not every change is known any more
        self._missed = 0
        self._now = 0

    async def items(self, post_ids: Sequence[int]) -> dict[int, bytes]:
        """Give those of the posts that exist, framed for the response, in the order of the ids.

        Raises UnavailableError when they cannot be loaded.
        """
        now, cached, used = time.monotonic(), self._cached, self._cached.move_to_end
        items: dict[int, bytes] = {}
        for post_id in post_ids:
            copy = cached.get(post_id)
            if copy is None or copy.until <= now:
                return await self._items_after_loading(post_ids)
            used(post_id)
            # What is kept may be shown: it would have gone with a change.
            if copy.item is not None:
                items[post_id] = copy.item
        return items

    async def _items_after_loading(self, post_ids: Sequence[int]) -> dict[int, bytes]:
        asked = self._moment()
        found: dict[int, _Copy] = {}
        wanted = list(post_ids)
        for _ in range(_TRIES):
            found |= await self._find(wanted)
            # One post may have changed while another was loaded.
            wanted = [post_id for post_id in post_ids if not self._may_show(post_id, found[post_id], asked)]
            if not wanted:
                break
        # A post that changes faster than it can be read is left out of this answer, not shown in an old version.
        late = set(wanted)
        return {post_id: item for post_id in post_ids if (item := found[post_id].item) is not None and post_id not in late}

    async def _find(self, post_ids: Sequence[int]) -> dict[int, _Copy]:
        now = time.monotonic()
        found: dict[int, _Copy] = {}
        missing = []
        for post_id in post_ids:
            cached = self._cached.get(post_id)
            if cached and cached.until > now:
                self._cached.move_to_end(post_id)
                found[post_id] = cached
            else:
                missing.append(post_id)
        if missing:
            for task in self._loads.start(missing, self._load):
                found |= await asyncio.shield(task)
        return found

    def changed(self, post_id: int, version: int) -> None:
        """Take note that a post has a new version: the copy goes, and no older one is taken."""
        known = self._changed.pop(post_id, None)
        self._changed[post_id] = _Change(max(version, known.version if known else 0), self._moment())
        if len(self._changed) > _CHANGES:
            _, oldest = self._changed.popitem(last=False)
            self._forgotten = oldest.moment
        self._loads.forget(post_id)
        self._drop(post_id)

    def missed_changes(self) -> None:
        """Take note that changes may have gone by unheard: every copy goes, and those that are being loaded are not kept."""
        self._missed = self._moment()
        self._loads.forget_all()
        for post_id in list(self._cached):
            self._drop(post_id)

    def _moment(self) -> int:
        """Count what happens, so that it is known what came first."""
        self._now += 1
        return self._now

    def _last_told(self, post_id: int) -> int:
        known = self._changed.get(post_id)
        return known.moment if known else self._forgotten

    def _may_show(self, post_id: int, copy: _Copy, asked: int) -> bool:
        """Tell whether a copy may be shown to somebody who asked at a moment."""
        if self._cached.get(post_id) is copy:
            return True
        return self._last_told(post_id) < copy.began and (self._missed < copy.began or asked < copy.began)

    async def _load(self, post_ids: list[int]) -> dict[int, _Copy]:
        began = self._moment()
        copies = await self._posts.lookup(post_ids)
        return {post_id: self._take(post_id, copies.get(post_id), began) for post_id in post_ids}

    def _take(self, post_id: int, copy: PostCopy | None, began: int) -> _Copy:
        """Frame a copy, and keep it unless the post may have changed since its load began."""
        known = self._changed.get(post_id)
        if copy and known and copy.version < known.version:
            return _Copy(None, began, 0)
        taken = _Copy(self._frame(copy.encoded) if copy else None, began, time.monotonic() + self._seconds)
        # A young post that is not there may be half written: its author's list may show it before it shows itself.
        settled = copy or post_id < first_id_at(now_ms() - _SETTLED_MS)
        if settled and max(self._last_told(post_id), self._missed) < began:
            self._keep(post_id, taken)
        return taken

    def _keep(self, post_id: int, copy: _Copy) -> None:
        self._drop(post_id)
        self._cached[post_id] = copy
        self._size += copy.size
        while self._size > self._capacity:
            self._drop(next(iter(self._cached)))

    def _drop(self, post_id: int) -> None:
        cached = self._cached.pop(post_id, None)
        if cached:
            self._size -= cached.size
