"""The recent posts of pulled authors, which every process keeps for a moment: the more read an author, the fewer ask the store."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection

from meshkit.single_flight import SingleFlight
from timeline_svc.pull import Puller, Recent

# A pulled author's post is in feeds at most so much later than it could be.
_SECONDS = 0.5
# An entry takes about 5 KB.
_CAPACITY = 10_000

Flights = SingleFlight[int, dict[int, Recent]]


class PulledAuthors:
    """Gives pulled authors' recent posts from memory; what is older than half a second is read again, once for all who want it."""

    def __init__(self, puller: Puller, flights: Flights) -> None:
        self._puller = puller
        self._flights = flights
        self._kept: OrderedDict[int, tuple[float, Recent]] = OrderedDict()

    async def recent(self, author_ids: Collection[int]) -> dict[int, Recent]:
        """Give each author's recent posts. Raises UnavailableError when neither the store nor the posts answer."""
        now = time.monotonic()
        found: dict[int, Recent] = {}
        missing = []
        for author_id in author_ids:
            kept = self._kept.get(author_id)
            if kept and kept[0] > now:
                found[author_id] = kept[1]
            else:
                missing.append(author_id)
        if missing:
            for task in self._flights.start(missing, self._load):
                found |= await asyncio.shield(task)
        return {author_id: found[author_id] for author_id in author_ids}

    async def _load(self, author_ids: list[int]) -> dict[int, Recent]:
        until = time.monotonic() + _SECONDS
        loaded = await self._puller.recent(author_ids)
        for author_id, recent in loaded.items():
            self._kept[author_id] = (until, recent)
            self._kept.move_to_end(author_id)
        while len(self._kept) > _CAPACITY:
            self._kept.popitem(last=False)
        return loaded
