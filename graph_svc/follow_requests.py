"""Requests to follow private accounts, once they are made (`graph_svc/follows.py` makes and withdraws them)."""

from graph_svc.changes import Change, Changes
from graph_svc.domain import Follow
from graph_svc.follows import decode_follow, encode_follow
from graph_svc.pages import UserPage, page_by_id
from graph_svc.revision import Revision
from graph_svc.ties import TieRepository
from graph_svc.user_rows import UserRepository
from meshkit.errors import NotFoundError
from meshkit.requests import RequestId


class FollowRequestService:
    """Answers requests."""

    def __init__(self, users: UserRepository, ties: TieRepository, changes: Changes) -> None:
        self._users = users
        self._ties = ties
        self._changes = changes

    async def approve(self, followee_id: int, follower_id: int, request: RequestId | None) -> Follow:
        """Make an edge of a request, or give the edge that is there.

        Raises:
            NotFoundError: there is neither.
            AlreadyExistsError: the request id was used for another request.

        """

        async def plan(now: int) -> Change:
            seen = await self._ties.see(follower_id, followee_id)
            tie = seen.relation.tie
            if not tie.follow_id and not tie.request_id:
                raise _request_not_found()
            approved = tie if tie.follow_id else tie.followed(now)
            return Change([Revision(seen, approved)], answer=encode_follow(approved))

        return decode_follow(follower_id, followee_id, await self._changes.make(request, plan))

    async def reject(self, followee_id: int, follower_id: int, request: RequestId | None) -> None:
        """End a request, if there is one.

        Raises:
            AlreadyExistsError: the request id was used for another request.

        """

        async def plan(_now: int) -> Change:
            seen = await self._ties.see(follower_id, followee_id)
            return Change([Revision(seen, seen.relation.tie.refused())])

        await self._changes.make(request, plan)

    async def received_page(self, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give who asks to follow a user."""

        async def ids_after(after: int, limit: int) -> list[int]:
            return await self._ties.requesters(user_id, after=after, limit=limit)

        return await page_by_id(self._users, ids_after, size, last)

    async def sent_page(self, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give whom a user asks to follow."""

        async def ids_after(after: int, limit: int) -> list[int]:
            return await self._ties.requested(user_id, after=after, limit=limit)

        return await page_by_id(self._users, ids_after, size, last)


def _request_not_found() -> NotFoundError:
    problem = "neither follows you nor asks to"
    return NotFoundError(f"follower_id {problem}", reason="FOLLOW_REQUEST_NOT_FOUND", fields={"follower_id": problem})
