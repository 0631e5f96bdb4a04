"""Which authors ever turned from push to pull: a copy of post_svc's log of turns, brought up to date when it is needed."""

import asyncio
from collections.abc import Collection, Mapping

from timeline_svc.ports import Posts, Turned


class Turns:
    """The log of turns. Who asks gets all turns that were committed before.

    It holds one entry for each author who ever turned: as many as there are authors with very many followers.
    """

    def __init__(self, posts: Posts) -> None:
        self._posts = posts
        self._turned: dict[int, Turned] = {}
        self._last = 0
        self._asked = 0
        self._answered = 0
        self._lock = asyncio.Lock()

    @property
    def known(self) -> Mapping[int, Turned]:
        """What is known, by author, without asking."""
        return self._turned

    async def of(self, author_ids: Collection[int]) -> dict[int, int]:
        """Give those of the authors who ever turned, with their last turn. Raises UnavailableError when the posts do not answer."""
        await self.refresh()
        return self.among(author_ids)

    def among(self, author_ids: Collection[int]) -> dict[int, int]:
        """Give those of the authors who are known to have turned, with their last turn."""
        return {author_id: self._turned[author_id].turn for author_id in author_ids if author_id in self._turned}

    async def refresh(self) -> None:
        """Ask for new turns; once for all who wait, each of whom must have waited before the asking began.

        Raises UnavailableError when the posts do not answer.
        """
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._answered >= mine:
                return
            waiting = self._asked
            for turned in await self._posts.turned(self._last):
                self._turned[turned.author_id] = turned
                self._last = max(self._last, turned.turn)
            self._answered = waiting
