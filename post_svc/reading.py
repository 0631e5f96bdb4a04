"""How posts are read: by users only where the author's posts are visible to them, by services all of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from meshkit.errors import PermissionDeniedError
from post_svc.domain import Post, post_not_found
from post_svc.ports import Visibility
from post_svc.posts import PostRepository

SERVICE = 0  # a viewer that is no user: it decides itself what it shows to whom


@dataclass(frozen=True, slots=True)
class PostPage:
    """Posts, newest first, and the id after which to go on; None at the end."""

    posts: list[Post]
    last: int | None


class PostReader:
    """Finds posts.

    Whether a viewer may see them is asked when they are read: what an account posts after it became private, or blocked the
    viewer, is never shown by an answer from before.
    """

    def __init__(self, posts: PostRepository, visibility: Visibility) -> None:
        self._posts = posts
        self._visibility = visibility

    async def get(self, viewer_id: int, post_id: int) -> Post:
        """Give a post. Raises NotFoundError, in the same words where the viewer may not see it."""
        post = await self.describe(post_id)
        if post.deleted or not await self._may_see(viewer_id, post.author_id):
            raise post_not_found()
        return post

    async def page_by_author(self, viewer_id: int, author_id: int, size: int, before: int | None) -> PostPage:
        """Give a page of an author's posts. It is only short at the end, also when posts are deleted meanwhile.

        Raises:
            PermissionDeniedError: the viewer may not see them, whatever the reason.

        """
        page = await self._page_by_author(author_id, size, before)
        if not await self._may_see(viewer_id, author_id):
            raise PermissionDeniedError("this account's posts are not for you to see", reason="NOT_VISIBLE")
        return page

    async def lookup(self, post_ids: Sequence[int]) -> list[Post]:
        """Give those of the posts that exist, for services."""
        return await self._posts.get_many(list(dict.fromkeys(post_ids)))

    async def describe(self, post_id: int) -> Post:
        """Give a post or its tombstone, for services. Raises NotFoundError."""
        found = await self._posts.get(post_id)
        if found is None:
            raise post_not_found()
        return found[0]

    async def author_entries(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> list[list[int]]:
        """Give each author's newest post ids below an id, newest first, for services."""
        return await asyncio.gather(*(self._posts.ids_by_author(author, before=before, limit=limit) for author in author_ids))

    async def _page_by_author(self, author_id: int, size: int, before: int | None) -> PostPage:
        posts: list[Post] = []
        while True:
            ids = await self._posts.ids_by_author(author_id, before=before, limit=size + 1)
            posts += await self._posts.get_many(ids)
            if len(posts) > size:
                return PostPage(posts[:size], posts[size - 1].post_id)
            if len(ids) <= size:
                return PostPage(posts, None)
            before = ids[-1]

    async def _may_see(self, viewer_id: int, author_id: int) -> bool:
        return viewer_id in (SERVICE, author_id) or await self._visibility.can_view(viewer_id, author_id)
