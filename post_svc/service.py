"""What the post service does: each change is one atomic write with its event and its request id."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshkit.clock import now_ms
from meshkit.errors import OverloadedError
from meshkit.ids import IdGenerator, id_bytes, id_from
from meshkit.outbox import Event, Outbox
from meshkit.requests import RequestId, answer_record, first_answer, remember
from meshkit.table.port import ConditionFailedError, Operation, Table
from post_svc.attachments import Attachments
from post_svc.domain import Draft, Edit, Post, PostChanged, PostCreated, PostEvent, post_not_found
from post_svc.posts import PostRepository, decode_post, encode_post

_TRIES = 8


@dataclass(frozen=True, slots=True)
class PostPage:
    """Posts, newest first, and the id after which to go on; None at the end."""

    posts: list[Post]
    last: int | None


class PostService:
    """Publishes, edits, deletes and finds posts."""

    def __init__(
        self,
        table: Table,
        ids: IdGenerator,
        outbox: Outbox,
        encode: Callable[[int, PostEvent], Event],
        attachments: Attachments,
    ) -> None:
        self._table = table
        self._posts = PostRepository(table)
        self._attachments = attachments
        self._ids = ids
        self._outbox = outbox
        self._encode = encode

    async def create(self, author_id: int, content: str, media_urls: Sequence[str], request: RequestId | None) -> Post:
        """Publish a post; a repeated request gives the post that it made, as it was made.

        Raises:
            InvalidArgumentError: the author may not use this media.
            AlreadyExistsError: the request id was used for another request.

        """
        for _ in range(_TRIES):
            # Media is looked at before the write, which finds repeats: those come first, whatever became of their media.
            if media_urls and request and (made := await self._made_by(request)):
                return made
            draft = Draft(content, await self._attachments.keys(author_id, media_urls, "media_urls"))
            post = Post.new(self._ids.next(), author_id, draft)
            created = PostCreated(post.post_id, author_id)
            if made := await self._commit(self._posts.creation(post), created, request, post):
                return made
        raise _too_many_changes()

    async def get(self, post_id: int) -> Post:
        """Give a post. Raises NotFoundError."""
        found = await self._posts.get(post_id)
        if found is None or found[0].deleted:
            raise post_not_found()
        return found[0]

    async def update(self, user_id: int, post_id: int, edit: Edit, request: RequestId | None) -> Post:
        """Edit a post.

        Raises:
            InvalidArgumentError: the author may not use this media.
            NotFoundError: there is no such post.
            PermissionDeniedError: it is another's.
            AlreadyExistsError: the request id was used for another request.

        """
        for _ in range(_TRIES):
            if request and (made := await self._made_by(request)):
                return made
            found = await self._posts.get(post_id)
            if found is None or found[0].deleted:
                raise post_not_found("post.post_id")
            post, unchanged = found
            post.require_author(user_id)
            edited = post.edited(await self._changed(post, edit), now_ms())
            changed = PostChanged(post_id, edited.version)
            if made := await self._commit(self._posts.edit(edited, unchanged), changed, request, edited):
                return made
        raise _too_many_changes()

    async def delete(self, user_id: int, post_id: int, request: RequestId | None) -> None:
        """Leave a tombstone in a post's place. Deleting twice is not an error.

        Raises:
            NotFoundError: there never was such a post.
            PermissionDeniedError: it is another's.
            AlreadyExistsError: the request id was used for another request.

        """
        for _ in range(_TRIES):
            if request and await self._made_by(request):
                return
            found = await self._posts.get(post_id)
            if found is None:
                raise post_not_found()
            post, unchanged = found
            post.require_author(user_id)
            if post.deleted:
                await remember(self._table, request, _answer(post))
                return
            tombstone = post.tombstone(now_ms())
            changed = PostChanged(post_id, tombstone.version)
            if await self._commit(self._posts.deletion(tombstone, unchanged), changed, request, tombstone):
                return
        raise _too_many_changes()

    async def page_by_author(self, author_id: int, size: int, before: int | None) -> PostPage:
        """Give a page of an author's posts. It is only short at the end, also when posts are deleted meanwhile."""
        posts: list[Post] = []
        while True:
            ids = await self._posts.ids_by_author(author_id, before=before, limit=size + 1)
            posts += await self._posts.get_many(ids)
            if len(posts) > size:
                return PostPage(posts[:size], posts[size - 1].post_id)
            if len(ids) <= size:
                return PostPage(posts, None)
            before = ids[-1]

    async def lookup(self, post_ids: Sequence[int]) -> list[Post]:
        """Give those of the posts that exist."""
        return await self._posts.get_many(list(dict.fromkeys(post_ids)))

    async def author_entries(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> list[list[int]]:
        """Give each author's newest post ids below an id, newest first."""
        return await asyncio.gather(*(self._posts.ids_by_author(author, before=before, limit=limit) for author in author_ids))

    async def _changed(self, post: Post, edit: Edit) -> Draft:
        draft = post.draft
        media = draft.media
        if edit.media_urls is not None:
            media = await self._attachments.keys(post.author_id, edit.media_urls, "post.media_urls", kept=media)
        return Draft(draft.content if edit.content is None else edit.content, media)

    def media_url(self, key: str) -> str:
        """Give the URL of media that a post carries."""
        return self._attachments.url(key)

    async def _commit(self, operations: list[Operation], event: PostEvent, request: RequestId | None, post: Post) -> Post | None:
        """Write a change; give the post, or what the request made first, or None when another change came first."""
        message = self._encode(self._ids.next(), event)
        answered = [answer_record(request, _answer(post))] if request else []
        try:
            await self._table.write(*answered, *operations, self._outbox.record(message))
        except ConditionFailedError:
            return await self._made_by(request) if request else None
        self._outbox.send(message)
        return post

    async def _made_by(self, request: RequestId) -> Post | None:
        answer = await first_answer(self._table, request)
        return decode_post(id_from(answer[:8]), answer[8:]) if answer else None


def _answer(post: Post) -> bytes:
    return id_bytes(post.post_id) + encode_post(post)


def _too_many_changes() -> OverloadedError:
    return OverloadedError("too many changes at once; try again", reason="CONTENTION")
