"""Following and unfollowing, and who follows whom."""

import asyncio
from dataclasses import replace

from graph_svc.changes import Change, Changes
from graph_svc.domain import (
    Follow,
    FollowerPosition,
    FollowerRange,
    FollowState,
    Relation,
    Tie,
    check_can_view,
    check_no_block,
    check_not_self,
    ids_at,
    user_not_found,
)
from graph_svc.lost_feeds import LostFeeds
from graph_svc.pages import UserPage, page_by_id
from graph_svc.revision import Revision
from graph_svc.ties import TieRepository
from graph_svc.user_rows import UserRepository
from meshkit.ids import id_bytes, id_from
from meshkit.requests import RequestId


class FollowService:
    """Edges."""

    def __init__(self, users: UserRepository, ties: TieRepository, changes: Changes, feeds: LostFeeds) -> None:
        self._users = users
        self._ties = ties
        self._changes = changes
        self._feeds = feeds

    async def follow(self, follower_id: int, followee_id: int, request: RequestId | None) -> Follow:
        """Make an edge, or a request where the followee is private; or give what is there of the two.

        Raises:
            InvalidArgumentError: following oneself.
            NotFoundError: either account does not exist.
            PermissionDeniedError: one of the two blocks the other.
            AlreadyExistsError: the request id was used for another request.

        """
        check_not_self(follower_id, followee_id, "followee_id", "FOLLOW")

        async def plan(now: int) -> Change:
            # Accounts are never removed, so the write need not ask for them.
            missing, seen = await asyncio.gather(
                self._users.missing(followee_id, follower_id), self._ties.see(follower_id, followee_id)
            )
            if missing:
                raise user_not_found("followee_id" if missing == followee_id else "follower_id")
            tie = _followed(seen.relation, now)
            return Change([Revision(seen, tie)], answer=encode_follow(tie))

        return decode_follow(follower_id, followee_id, await self._changes.make(request, plan))

    async def unfollow(self, follower_id: int, followee_id: int, request: RequestId | None) -> None:
        """End an edge, or withdraw a request, whichever there is. The followee's posts are gone from the feed when this returns.

        Raises:
            AlreadyExistsError: the request id was used for another request.
            UnavailableError: reason NOT_IN_EFFECT, the change is kept, but the feed may not show it yet.

        """

        async def plan(now: int) -> Change:
            seen = await self._ties.see(follower_id, followee_id)
            return Change([Revision(seen, seen.relation.tie.cut(now))])

        await self._changes.make(request, plan)
        await self._feeds.settle((follower_id, followee_id))

    async def remove_follower(self, followee_id: int, follower_id: int, request: RequestId | None) -> None:
        """End a follower's edge. Raises as `unfollow`."""

        async def plan(now: int) -> Change:
            seen = await self._ties.see(follower_id, followee_id)
            tie = seen.relation.tie
            return Change([Revision(seen, tie.cut(now) if tie.follow_id else tie)])

        await self._changes.make(request, plan)
        await self._feeds.settle((follower_id, followee_id))

    async def tie(self, follower_id: int, followee_id: int) -> Tie:
        """Tell whether there is an edge, or a request."""
        return await self._ties.tie(follower_id, followee_id)

    async def followers_page(self, viewer_id: int, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give followers with profiles, after a position, to a viewer or, with 0, to a service.

        Raises:
            NotFoundError: there is no such account.
            PermissionDeniedError: the viewer may not see the account's posts.

        """
        await self._require(viewer_id, user_id)
        start = FollowerPosition.from_sort_key(last) if last else None
        after = FollowerRange(replace(start, user_id=start.user_id + 1) if start else None)
        positions = await self._ties.followers(user_id, after, limit=size + 1, keep=_any_edge)
        users = await self._users.get_many([position.user_id for position in positions[:size]])
        return UserPage(users, positions[size - 1].sort_key if len(positions) > size else None)

    async def following_page(self, viewer_id: int, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give followees with profiles, after a position. Raises as `followers_page`."""
        await self._require(viewer_id, user_id)

        async def ids_after(after: int, limit: int) -> list[int]:
            return await self._ties.followees(user_id, after=after, limit=limit, keep=_any_edge)

        return await page_by_id(self._users, ids_after, size, last)

    async def followee_ids(self, user_id: int, *, after: int, limit: int) -> list[int]:
        """Give whose posts belong in a user's feed: ids above `after`, ascending."""
        return await self._ties.followees(user_id, after=after, limit=limit, keep=_in_feed)

    async def left_authors(self, user_id: int, *, after: int, limit: int) -> list[tuple[int, int]]:
        """Give whose posts went out of a user's feed within two hours, and with which version: ids above `after`, ascending."""
        return await self._ties.left(user_id, after=after, limit=limit)

    async def follower_range(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[list[int], FollowerPosition | None]:
        """Give the followers inside a range in whose feeds a user's posts belong, by position, and where to go on."""
        positions = await self._ties.feeds(user_id, within, limit=limit)
        follower_ids = ids_at(positions)
        if len(positions) < limit:
            return follower_ids, None
        last = FollowerPosition.from_sort_key(positions[-1])
        return follower_ids, replace(last, user_id=last.user_id + 1)

    async def _require(self, viewer_id: int, user_id: int) -> None:
        missing, seen = await asyncio.gather(self._users.missing(user_id), self._ties.see(viewer_id, user_id))
        if missing:
            raise user_not_found("user_id")
        if viewer_id:
            check_can_view(seen.relation)


def encode_follow(tie: Tie) -> bytes:
    """Encode the answer to who follows, or is let follow."""
    return id_bytes(tie.follow_id) + id_bytes(tie.request_id)


def decode_follow(follower_id: int, followee_id: int, answer: bytes) -> Follow:
    """Decode what `encode_follow` made."""
    follow_id, request_id = id_from(answer[:8]), id_from(answer[8:])
    state = FollowState.ACTIVE if follow_id else FollowState.REQUESTED
    return Follow(follower_id, followee_id, follow_id or request_id, state)


def _followed(relation: Relation, now: int) -> Tie:
    """Decide what becomes of a wish to follow. Raises PermissionDeniedError."""
    tie = relation.tie
    if tie.follow_id:
        return tie
    check_no_block(relation)
    if not relation.author_private:
        return tie.followed(now)
    return tie if tie.request_id else tie.requested(now)


def _any_edge(tie: Tie) -> bool:
    return bool(tie.follow_id)


def _in_feed(tie: Tie) -> bool:
    return tie.in_feed
