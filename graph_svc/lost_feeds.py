"""What takes an author out of a feed is answered only when it holds there (docs/adr/0012)."""

import asyncio

from graph_svc.ports import Feeds
from graph_svc.ties import TieRepository
from meshkit.errors import OverloadedError, UnavailableError


class LostFeeds:
    """Tells feeds that they lost an author."""

    def __init__(self, ties: TieRepository, feeds: Feeds) -> None:
        self._ties = ties
        self._feeds = feeds

    async def settle(self, *pairs: tuple[int, int]) -> None:
        """Keep authors out of the feeds, viewer first, that they do not belong in by now; also when this was told before.

        Raises:
            UnavailableError: the tie stands as it was changed, but its feed may not show that yet.

        """
        try:
            await asyncio.gather(*(self._settle(viewer_id, author_id) for viewer_id, author_id in pairs))
        except (OverloadedError, UnavailableError) as error:
            message = "the change is kept, but feeds may not show it yet; ask again"
            raise UnavailableError(message, reason="NOT_IN_EFFECT") from error

    async def _settle(self, viewer_id: int, author_id: int) -> None:
        tie = await self._ties.tie(viewer_id, author_id)
        # What has come back meanwhile has a larger version than this one, and feeds know it for two hours: it is not hidden,
        # however late this arrives. Without a version nothing ended lately: there is nothing to hide.
        if tie.version and not tie.in_feed:
            await self._feeds.hide(viewer_id, author_id, tie.version)
