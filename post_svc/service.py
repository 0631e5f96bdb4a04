"""What authors do with posts: each change is one atomic write with its event and its request id."""

from collections.abc import Callable, Sequence

from meshkit.clock import now_ms
from meshkit.errors import OverloadedError, PermissionDeniedError, UnavailableError
from meshkit.ids import IdGenerator, id_bytes, id_from
from meshkit.outbox import Event, Outbox
from meshkit.requests import RequestId, answer_record, first_answer, remember
from meshkit.table.port import ConditionFailedError, Operation, Table
from post_svc.attachments import Attachments
from post_svc.domain import Draft, Edit, Post, PostChanged, PostCreated, PostEvent, post_not_found
from post_svc.ports import Visibility
from post_svc.posts import PostRepository, decode_post, encode_post
from post_svc.turned import TurnedAuthors

_TRIES = 8


class PostService:
    """Publishes, edits and deletes posts."""

    def __init__(
        self,
        table: Table,
        ids: IdGenerator,
        outbox: Outbox,
        encode: Callable[[int, PostEvent], Event],
        attachments: Attachments,
        visibility: Visibility,
        turned: TurnedAuthors,
    ) -> None:
        self._table = table
        self._posts = PostRepository(table)
        self._attachments = attachments
        self._visibility = visibility
        self._turned = turned
        self._ids = ids
        self._outbox = outbox
        self._encode = encode

    async def create(self, author_id: int, content: str, media_urls: Sequence[str], request: RequestId | None) -> Post:
        """Publish a post; a repeated request gives the post that it made, as it was made.

        Raises:
            InvalidArgumentError: the author may not use this media.
            AlreadyExistsError: the request id was used for another request.

        """
        for again in range(_TRIES):
            # Media is looked at before the write, which finds repeats: those come first, whatever became of their media.
            if request and (media_urls or again) and (made := await self._made_by(request)):
                return made
            delivery, demands = await self._turned.stamp(author_id)
            media = await self._attachments.keys(author_id, media_urls, "media_urls") if media_urls else ()
            post = Post.new(self._ids.next(), author_id, Draft(content, media), delivery)
            created = PostCreated(post.post_id, author_id, delivery)
            if message := await self._commit([*demands, *self._posts.creation(post)], created, request, post):
                self._outbox.send(message)
                return post
        raise _too_many_changes()

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
            await self._require_author(user_id, post, "post.post_id")
            edited = post.edited(await self._changed(post, edit), now_ms())
            changed = PostChanged(post_id, edited.version)
            if message := await self._commit(self._posts.edit(edited, unchanged), changed, request, edited):
                self._outbox.send(message)
                return edited
        raise _too_many_changes()

    async def delete(self, user_id: int, post_id: int, request: RequestId | None) -> None:
        """Leave a tombstone in a post's place, and tell whoever holds a copy. Deleting twice is not an error, and tells it again.

        Raises:
            NotFoundError: there never was such a post.
            PermissionDeniedError: it is another's.
            AlreadyExistsError: the request id was used for another request.
            UnavailableError: also when the post is deleted, but copies of it may still be shown.

        """
        for _ in range(_TRIES):
            if request and (made := await self._made_by(request)):
                return await self._tell(self._deletion(made))
            found = await self._posts.get(post_id)
            if found is None:
                raise post_not_found()
            post, unchanged = found
            await self._require_author(user_id, post, "post_id")
            if post.deleted:
                await remember(self._table, request, _answer(post))
                return await self._tell(self._deletion(post))
            tombstone = post.tombstone(now_ms())
            changed = PostChanged(post_id, tombstone.version)
            if message := await self._commit(self._posts.deletion(tombstone, unchanged), changed, request, tombstone):
                return await self._tell(message)
        raise _too_many_changes()

    def media_url(self, key: str) -> str:
        """Give the URL of media that a post carries."""
        return self._attachments.url(key)

    async def _require_author(self, user_id: int, post: Post, field: str) -> None:
        """Refuse everybody but the author; who may not see the post does not learn that there is one."""
        if post.author_id == user_id:
            return
        if post.deleted or not await self._visibility.can_view(user_id, post.author_id):
            raise post_not_found(field)
        raise PermissionDeniedError("this is another user's post", reason="NOT_THE_AUTHOR")

    async def _changed(self, post: Post, edit: Edit) -> Draft:
        draft = post.draft
        media = draft.media
        if edit.media_urls is not None:
            media = await self._attachments.keys(post.author_id, edit.media_urls, "post.media_urls", kept=media)
        return Draft(draft.content if edit.content is None else edit.content, media)

    async def _commit(self, operations: list[Operation], event: PostEvent, request: RequestId | None, post: Post) -> Event | None:
        """Write a change with the answer to its request; give its event, which is to be sent, or None when others came first."""
        message = self._encode(self._ids.next(), event)
        answered = [answer_record(request, _answer(post))] if request else []
        try:
            await self._table.write(*answered, *operations, self._outbox.record(message))
        except ConditionFailedError:
            return None
        return message

    def _deletion(self, tombstone: Post) -> Event:
        return self._encode(self._ids.next(), PostChanged(tombstone.post_id, tombstone.version))

    async def _tell(self, deletion: Event) -> None:
        """Have every listener told before the caller is: then no copy is shown any more."""
        try:
            await self._outbox.deliver(deletion)
        except (OverloadedError, UnavailableError) as error:
            problem = "the post is deleted, but feeds may still show it: ask again"
            raise UnavailableError(problem, reason="NOT_IN_EFFECT") from error

    async def _made_by(self, request: RequestId) -> Post | None:
        answer = await first_answer(self._table, request)
        return decode_post(id_from(answer[:8]), answer[8:]) if answer else None


def _answer(post: Post) -> bytes:
    return id_bytes(post.post_id) + encode_post(post)


def _too_many_changes() -> OverloadedError:
    return OverloadedError("too many changes at once; try again", reason="CONTENTION")
