"""Watches authors with many followers, and turns them between push and pull."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from fanout_svc.authors import AuthorRepository
from fanout_svc.domain import Delivery, NewPost
from fanout_svc.policy import Author, Policy, deliveries_a_day
from fanout_svc.ports import Deliveries
from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.ids import time_ms_of

_WATCHED = 10  # who has this part of the pull threshold in followers is watched
_SECONDS = 2.0
_LISTED = 1_000
_CALLS_AT_ONCE = 32
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuthorPreview:
    """An author, how the posts get into feeds now, and how they would."""

    author: Author
    posts_a_day: float
    delivery: Delivery
    preview: Delivery


@dataclass(frozen=True, slots=True)
class Preview:
    """What a threshold would do: to the largest authors, and what that costs a day."""

    threshold: int
    authors: Sequence[AuthorPreview]
    deliveries_a_day: float
    merges_a_day: float


class Steering:
    """Notes what is seen of authors, and decides. It takes at most 2 s, and an outage fails nothing: no delivery waits for it."""

    def __init__(self, authors: AuthorRepository, deliveries: Deliveries, policy: Policy) -> None:
        self._authors = authors
        self._deliveries = deliveries
        self._policy = policy

    async def posted(self, post: NewPost, follower_count: int, reached: int | None = None) -> None:
        """Note a post, and how many timelines it reached if that is known; turn its author if the other delivery is to be."""
        # Whoever is pulled is watched, however few followers are left.
        if post.delivery is Delivery.PUSH and not self._is_watched(follower_count):
            return
        async with _in_passing(post.author_id):
            known = await self._authors.get(post.author_id)
            if not known or known.last_post_ms < time_ms_of(post.post_id):
                author = await self._note(post, follower_count, reached)
                await self._decide(author, post.delivery)

    async def reached(self, author_id: int, follower_count: int, reached: int) -> None:
        """Note that a push is done."""
        if self._is_watched(follower_count):
            async with _in_passing(author_id):
                await self._authors.update(
                    author_id, lambda known: (known or Author(author_id, follower_count)).pushed(follower_count, reached)
                )

    async def preview(self, threshold: int) -> Preview:
        """Tell what another threshold would do; 0 is the one that is set."""
        policy = self._policy.at(threshold) if threshold else self._policy
        room, now = asyncio.Semaphore(_CALLS_AT_ONCE), now_ms()

        async def look(author: Author) -> AuthorPreview:
            async with room:
                delivery = (await self._deliveries.get(author.author_id)).delivery
            return AuthorPreview(author, author.posts_a_day(now), delivery, policy.decide(author, delivery, now))

        seen = await asyncio.gather(*map(look, await self._authors.largest(_LISTED)))
        return Preview(
            policy.pull_threshold,
            seen,
            sum(deliveries_a_day(each.author, now) for each in seen if each.preview is Delivery.PUSH),
            sum(policy.merges_a_day(each.author) for each in seen if each.preview is Delivery.PULL),
        )

    def _is_watched(self, follower_count: int) -> bool:
        return follower_count * _WATCHED >= self._policy.pull_threshold

    async def _note(self, post: NewPost, follower_count: int, reached: int | None) -> Author:
        def change(known: Author | None) -> Author:
            author = (known or Author(post.author_id, follower_count)).posted(time_ms_of(post.post_id), follower_count)
            return author if reached is None else author.pushed(follower_count, reached)

        return await self._authors.update(post.author_id, change)

    async def _decide(self, author: Author, now: Delivery) -> None:
        # As of the post: however long its event took says nothing about how often the author posts.
        wanted = self._policy.decide(author, now, author.last_post_ms)
        is_pulled = now is not Delivery.PUSH
        if (wanted is Delivery.PULL) != is_pulled:
            await self._deliveries.turn(author.author_id, wanted)


@asynccontextmanager
async def _in_passing(author_id: int) -> AsyncIterator[None]:
    """Do what the author's next post does again if it fails."""
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except (UnavailableError, OverloadedError, TimeoutError) as error:
        _log.warning("author not looked at", author_id=author_id, error=repr(error))
