"""Who may be on something else than PUSH: so few that a process knows them all, and most posts need not ask."""

import asyncio
from typing import NoReturn

import structlog

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.table.port import Operation
from post_svc.delivery_rows import DeliveryRepository
from post_svc.domain import AuthorDelivery, Delivery

_PAGE = 1_000
_EVERY_SECONDS = 0.5
_log = structlog.get_logger(__name__)


class TurnedAuthors:
    """Follows the log of turns. Until it was read once, everybody may have turned.

    Who turned elsewhere is pushed here for about another half second, and pushing is always right (docs/adr/0013). Of who may be on
    something else the row is read, each time.
    """

    def __init__(self, deliveries: DeliveryRepository) -> None:
        self._deliveries = deliveries
        self._not_pushed: set[int] = set()
        self._last_turn = 0
        self._known = False

    async def stamp(self, author_id: int) -> tuple[Delivery, list[Operation]]:
        """Give what a new post gets, and the operations that demand that it may still get that when it is written."""
        if self._known and author_id not in self._not_pushed:
            return Delivery.PUSH, []
        return await self._deliveries.stamp(author_id)

    def note(self, author: AuthorDelivery) -> None:
        """Take note of what an author's next posts get."""
        if author.pushed:
            self._not_pushed.discard(author.author_id)
        else:
            self._not_pushed.add(author.author_id)

    async def look(self) -> None:
        """Read what was added to the log."""
        while True:
            authors = await self._deliveries.turned_after(self._last_turn, _PAGE)
            for author in authors:
                self.note(author)
                self._last_turn = max(self._last_turn, author.turn)
            if len(authors) < _PAGE:
                break
        self._known = True

    async def run(self) -> NoReturn:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except (OverloadedError, UnavailableError) as error:
                _log.warning("turns are not followed now; who turns elsewhere is still pushed here", error=str(error))
            await asyncio.sleep(_EVERY_SECONDS)
