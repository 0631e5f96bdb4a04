"""Those who live beside the clients: the two authors whose followers come and go, and the readers."""

import asyncio
import random
from collections.abc import Sequence

from tests.chaos.calls import Caller
from tests.chaos.clients import Client
from tests.chaos.ledger import now
from tests.chaos.members import Members, all_of

_POST_EVERY_S = 0.4
_STAY_S = 4.0
_FANS_AT_ONCE = 6
_SIZES = (5, 10, 20, 37, 100)


class Turner:
    """An author who gains followers and loses them, in waves that cross the thresholds both ways, and posts all the while."""

    def __init__(self, author: int, fans: Sequence[int], caller: Caller, client: Client, members: Members) -> None:
        self._author = author
        self._fans = fans
        self._caller = caller
        self._client = client
        self._members = members

    async def live(self, until: float) -> None:
        """Post, and let the fans come and go."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._post(until))
            group.create_task(self._waves(until))

    async def _post(self, until: float) -> None:
        while now() < until:
            await self._client.post(self._author)
            await asyncio.sleep(_POST_EVERY_S)

    async def _waves(self, until: float) -> None:
        while now() < until:
            for kind in ("follow", "unfollow"):
                await all_of([(kind, fan, until) for fan in self._fans], self._turn, _FANS_AT_ONCE)
                await asyncio.sleep(_STAY_S)

    async def _turn(self, what: tuple[str, int, float]) -> None:
        kind, fan, until = what
        if now() < until:
            ids = self._members.ids
            await self._caller.write(f"turner {self._author}", kind, ids[fan], whom=ids[self._author])


class Reader:
    """Reads at a steady pace: first pages, whole feeds to the end, authors' pages, single posts."""

    def __init__(self, name: str, caller: Caller, members: Members, chance: random.Random) -> None:
        self._name = name
        self._caller = caller
        self._members = members
        self._chance = chance

    async def live(self, until: float, every: float) -> None:
        """Read until a time."""
        due = now()
        while due < until:
            await asyncio.sleep(max(0.0, due - now()))
            await self._read()
            due = max(due + every, now() - 1)

    async def _read(self) -> None:
        who, whom = self._chance.choices(self._members.ids, k=2)
        what = self._chance.random()
        if what < 0.5:
            await self._caller.read(self._name, "feed", who, size=self._chance.choice(_SIZES), pages=1)
        elif what < 0.8:
            await self._caller.read(self._name, "feed", who, size=self._chance.choice(_SIZES))
        elif what < 0.9:
            await self._caller.read(self._name, "posts", who, whom=whom, size=self._chance.choice(_SIZES))
        elif self._members.published:
            await self._caller.get_post(self._name, who, self._chance.choice(self._members.published))
