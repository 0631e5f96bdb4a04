"""The recent posts of pulled authors, which every process keeps for a moment: the more read an author, the fewer ask the store.

Of authors who are asked for again and again nobody has to wait: they are read anew before what is kept is too old.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from meshkit.single_flight import SingleFlight
from timeline_svc.pull import Puller, Recent

# A pulled author's post is in feeds at most so much later than it could be.
_SECONDS = 0.5
# How often those who were asked for are looked over, and how long before its end what is kept of them is read anew.
_LOOK_SECONDS = 0.15
_AHEAD_SECONDS = 0.3
# An entry takes about 2 KB.
_CAPACITY = 10_000

Flights = SingleFlight[int, dict[int, Recent]]


class PulledAuthors:
    """Gives pulled authors' recent posts from memory; what is older than half a second is read again, once for all who want it."""

    def __init__(self, puller: Puller, flights: Flights, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._puller = puller
        self._flights = flights
        self._clock = clock
        self._kept: OrderedDict[int, tuple[float, Recent]] = OrderedDict()
        self._asked: set[int] = set()
        self._look_at = 0.0

    async def recent(self, author_ids: Collection[int]) -> dict[int, Recent]:
        """Give each author's recent posts. Raises UnavailableError when neither the store nor the posts answer."""
        now, kept = self._clock(), self._kept
        found = {author_id: known[1] for author_id in author_ids if (known := kept.get(author_id)) and known[0] > now}
        if len(found) < len(author_ids):
            missing = [author_id for author_id in author_ids if author_id not in found]
            for task in self._flights.start(missing, self._load):
                found |= await asyncio.shield(task)
            found = {author_id: found[author_id] for author_id in author_ids}
        self._look_ahead(author_ids, now)
        return found

    def _look_ahead(self, author_ids: Collection[int], now: float) -> None:
        """Begin to read anew what is kept of those who were asked for lately, if it soon is too old."""
        self._asked.update(author_ids)
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        soon = now + _AHEAD_SECONDS
        ageing = [author_id for author_id in self._asked if (known := self._kept.get(author_id)) and now < known[0] < soon]
        self._asked.clear()
        if ageing:
            self._flights.start(ageing, self._load)

    async def _load(self, author_ids: list[int]) -> dict[int, Recent]:
        until = self._clock() + _SECONDS
        loaded = await self._puller.recent(author_ids)
        for author_id, recent in loaded.items():
            self._kept[author_id] = (until, recent)
            self._kept.move_to_end(author_id)
        while len(self._kept) > _CAPACITY:
            self._kept.popitem(last=False)
        return loaded
