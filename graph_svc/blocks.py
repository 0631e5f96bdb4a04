"""Blocks: two accounts that shall have nothing to do with each other."""

import asyncio

from graph_svc.changes import Change, Changes
from graph_svc.domain import check_not_self, user_not_found
from graph_svc.lost_feeds import LostFeeds
from graph_svc.pages import UserPage, page_by_id
from graph_svc.revision import Revision
from graph_svc.tie_rows import block_key
from graph_svc.ties import TieRepository
from graph_svc.user_rows import UserRepository
from meshkit.requests import RequestId
from meshkit.table.port import Delete, Existence, Put


class BlockService:
    """Blocks."""

    def __init__(self, users: UserRepository, ties: TieRepository, changes: Changes, feeds: LostFeeds) -> None:
        self._users = users
        self._ties = ties
        self._changes = changes
        self._feeds = feeds

    async def block(self, user_id: int, blocked_id: int, request: RequestId | None) -> None:
        """Begin a block, and end edges and requests both ways. Neither feed shows the other's posts when this returns.

        Raises:
            InvalidArgumentError: blocking oneself.
            NotFoundError: either account does not exist.
            AlreadyExistsError: the request id was used for another request.
            UnavailableError: reason NOT_IN_EFFECT, the block is kept, but feeds may not show it yet.

        """
        check_not_self(user_id, blocked_id, "blocked_id", "BLOCK")
        if missing := await self._users.missing(blocked_id, user_id):
            raise user_not_found("blocked_id" if missing == blocked_id else "user_id")

        async def plan(now: int) -> Change:
            ours, theirs = await asyncio.gather(self._ties.see(user_id, blocked_id), self._ties.see(blocked_id, user_id))
            if ours.relation.blocking:
                return Change()
            cut = [Revision(seen, seen.relation.tie.cut(now)) for seen in (ours, theirs)]
            return Change(cut, [Put(block_key(user_id, blocked_id), b"", condition=Existence.ABSENT)])

        await self._changes.make(request, plan)
        await self._feeds.settle((user_id, blocked_id), (blocked_id, user_id))

    async def unblock(self, user_id: int, blocked_id: int, request: RequestId | None) -> None:
        """End a block, if there is one.

        Raises:
            AlreadyExistsError: the request id was used for another request.

        """

        async def plan(_now: int) -> Change:
            return Change(operations=[Delete(block_key(user_id, blocked_id))])

        await self._changes.make(request, plan)

    async def page(self, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give whom a user blocks."""

        async def ids_after(after: int, limit: int) -> list[int]:
            return await self._ties.blocked(user_id, after=after, limit=limit)

        return await page_by_id(self._users, ids_after, size, last)
