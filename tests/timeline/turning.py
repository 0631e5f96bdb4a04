"""Authors who turn between push and pull, as post_svc keeps them and fanout_svc tells timelines of them (ADR 13)."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum

from meshkit.ids import time_ms_of
from tests.timeline.home import Home
from timeline_svc.home_timelines import SETTLED_AFTER_MS
from timeline_svc.packed import Entry
from timeline_svc.ports import Turned


class Mode(Enum):
    """What a new post is stamped with; the numbers are the contract's."""

    PUSH = 1
    PULL = 2
    BOTH = 3


@dataclass
class Turning:
    """The rows of authors, and what fan-out does by them."""

    home: Home
    modes: dict[int, Mode] = field(default_factory=lambda: defaultdict(lambda: Mode.PUSH))
    turns: int = 0

    def to_pull(self, author_id: int, *, parts: int = 1) -> AsyncIterator[None]:
        """Turn an author from push to pull: the row at once, the job by steps of the iterator that this gives.

        The job reads and marks the followers in so many parts, and makes two steps of each.
        """
        self._turn(author_id, Mode.BOTH)
        return self._job(author_id, self.turns, parts)

    def to_push(self, author_id: int) -> None:
        """Turn an author back."""
        self._turn(author_id, Mode.PUSH)

    async def pull(self, author_id: int) -> None:
        """Turn an author from push to pull, to the end."""
        async for _ in self.to_pull(author_id):
            pass

    def commit(self, author_id: int) -> int:
        """Write a post, stamped with what its author's row says."""
        post_id = self.home.commit(author_id)
        self.home.world.stamps[post_id] = self.modes[author_id].value
        return post_id

    async def plan(self, post_id: int, author_id: int) -> list[int]:
        """Put a post among its author's recent ones, and give the followers whom it has to be pushed to."""
        await self.home.delivery.push_own([Entry(post_id, author_id)])
        if (self.home.world.stamps[post_id], self.modes[author_id]) == (Mode.PULL.value, Mode.PULL):
            return []
        return self.home.world.followers(author_id)

    async def publish(self, author_id: int) -> int:
        """Write a post and deliver it."""
        post_id = self.commit(author_id)
        await self.home.delivery.push(Entry(post_id, author_id), await self.plan(post_id, author_id))
        return post_id

    def _turn(self, author_id: int, mode: Mode) -> None:
        self.turns += 1
        self.modes[author_id] = mode
        # As long ago as it has to be: by then nothing of before is under way, and nothing of before is here.
        turned_ms = time_ms_of(self.home.ids.next()) + 1 - SETTLED_AFTER_MS
        self.home.world.turns[author_id] = Turned(author_id, self.turns, turned_ms, pushed=mode is Mode.PUSH)

    async def _job(self, author_id: int, turn: int, parts: int) -> AsyncIterator[None]:
        for part in range(parts):
            followers = [user for user in self.home.world.followers(author_id) if user % parts == part]
            yield
            await self.home.delivery.mark_pulled(author_id, turn, followers)
            yield
        if self.home.world.turns[author_id].turn == turn:
            self.modes[author_id] = Mode.PULL
