"""Mutes: whose posts a user does not want in the home feed, followed or not."""

from graph_svc.changes import Change, Changes
from graph_svc.domain import check_not_self, user_not_found
from graph_svc.lost_feeds import LostFeeds
from graph_svc.pages import UserPage, page_by_id
from graph_svc.revision import Revision
from graph_svc.ties import TieRepository
from graph_svc.user_rows import UserRepository
from meshkit.requests import RequestId


class MuteService:
    """Mutes."""

    def __init__(self, users: UserRepository, ties: TieRepository, changes: Changes, feeds: LostFeeds) -> None:
        self._users = users
        self._ties = ties
        self._changes = changes
        self._feeds = feeds

    async def mute(self, user_id: int, muted_id: int, request: RequestId | None) -> None:
        """Begin a mute. The posts are gone from the feed when this returns.

        Raises:
            InvalidArgumentError: muting oneself.
            NotFoundError: either account does not exist.
            AlreadyExistsError: the request id was used for another request.
            UnavailableError: reason NOT_IN_EFFECT, the mute is kept, but the feed may not show it yet.

        """
        check_not_self(user_id, muted_id, "muted_id", "MUTE")
        if missing := await self._users.missing(muted_id, user_id):
            raise user_not_found("muted_id" if missing == muted_id else "user_id")
        await self._set(user_id, muted_id, request, muted=True)
        await self._feeds.settle((user_id, muted_id))

    async def unmute(self, user_id: int, muted_id: int, request: RequestId | None) -> None:
        """End a mute, if there is one.

        Raises:
            AlreadyExistsError: the request id was used for another request.

        """
        await self._set(user_id, muted_id, request, muted=False)

    async def page(self, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give whom a user mutes."""

        async def ids_after(after: int, limit: int) -> list[int]:
            return await self._ties.muted(user_id, after=after, limit=limit)

        return await page_by_id(self._users, ids_after, size, last)

    async def _set(self, user_id: int, muted_id: int, request: RequestId | None, *, muted: bool) -> None:
        async def plan(now: int) -> Change:
            seen = await self._ties.see(user_id, muted_id)
            tie = seen.relation.tie
            return Change([Revision(seen, tie if tie.muted == muted else tie.with_mute(now, muted=muted))])

        await self._changes.make(request, plan)
