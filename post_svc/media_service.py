"""What becomes of uploads: announced, published once they have arrived."""

from contextlib import suppress
from dataclasses import dataclass

from meshkit.clock import now_ms
from meshkit.errors import FailedPreconditionError, OverloadedError, UnavailableError
from meshkit.ids import IdGenerator, id_bytes, id_from
from meshkit.media.port import (
    MAX_UPLOAD_SECONDS,
    Arrived,
    MediaStore,
    NotUploadedError,
    Stored,
    Upload,
    UploadChangedError,
    UploadDiffersError,
)
from meshkit.requests import RequestId, answer_record, first_answer
from meshkit.table.port import AtVersion, ConditionFailedError, Table
from post_svc.media import Media, media_not_found, require_taken
from post_svc.media_rows import MediaRepository

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Announced:
    """Media, and how to upload it until a Unix time in milliseconds; published media takes no upload."""

    media: Media
    upload: Upload | None = None
    expires_ms: int = 0


class MediaService:
    """Announces, publishes and finds users' media."""

    def __init__(self, table: Table, ids: IdGenerator, store: MediaStore) -> None:
        self._table = table
        self._media = MediaRepository(table)
        self._ids = ids
        self._store = store

    async def create(self, user_id: int, expected: Stored, request: RequestId | None) -> Announced:
        """Announce media; a repeated request names the same, with a fresh upload.

        Raises:
            InvalidArgumentError: its type or size is not taken.
            AlreadyExistsError: the request id was used for another request.

        """
        require_taken(expected)
        for _ in range(_TRIES):
            media = Media.new(self._ids.next(), user_id, expected)
            answered = [answer_record(request, id_bytes(media.media_id))] if request else []
            try:
                await self._table.write(*answered, self._media.announcement(media))
            except ConditionFailedError:
                if request and (made := await first_answer(self._table, request)):
                    return await self._with_upload(await self.get(user_id, id_from(made)))
            else:
                return await self._with_upload(media)
        raise _too_many_changes()

    async def get(self, user_id: int, media_id: int) -> Media:
        """Give media of the user's. Raises NotFoundError."""
        found = await self._media.get(user_id, media_id)
        if not found:
            raise media_not_found()
        return found[0]

    async def complete(self, user_id: int, media_id: int) -> Media:
        """Publish what was uploaded. Doing so twice is not an error.

        First the file gets to its place, whose name is made of what has arrived: completions that find different uploads never
        write to one place. Then the row says which it is. A crash between the two is mended by the next try.

        Raises:
            NotFoundError: the user has no such media.
            FailedPreconditionError: nothing is uploaded yet, or something else than was announced.
            OverloadedError: the upload was replaced again and again meanwhile, or too much is being published.

        """
        for _ in range(_TRIES):
            found = await self._media.get(user_id, media_id)
            if not found:
                raise media_not_found()
            if found[0].ready:
                return found[0]
            if published := await self._publish(*found):
                return published
        raise _too_many_changes()

    def url(self, media: Media) -> str:
        """Give where published media is read."""
        return f"{self._store.public_url}/{media.key}"

    async def _with_upload(self, media: Media) -> Announced:
        if media.ready:
            return Announced(media)
        expires_ms = (now_ms() // 1000 + MAX_UPLOAD_SECONDS) * 1000
        upload = await self._store.presign_put(media.upload_key, media.expected, MAX_UPLOAD_SECONDS)
        return Announced(media, upload, expires_ms)

    async def _publish(self, media: Media, unchanged: AtVersion) -> Media | None:
        """Publish what has arrived and note it; None when the upload or the row changed meanwhile."""
        arrived = await self._arrived(media)
        if not arrived:
            return None
        published = media.published(arrived.version)
        try:
            await self._store.publish(arrived, published.key)
            await self._table.write(self._media.publication(published, unchanged))
        except UploadChangedError:
            return None
        except ConditionFailedError:
            await self._discard_unless_noted(published)
            return None
        await self._discard(media.upload_key)
        return published

    async def _arrived(self, media: Media) -> Arrived | None:
        """Tell what has arrived; None when another completion was first, and has cleared it away."""
        try:
            return await self._store.arrived(media.upload_key, media.expected)
        except NotUploadedError:
            if (await self.get(media.user_id, media.media_id)).ready:
                return None
            problem = "nothing is uploaded yet: send the file to the upload's URL, then complete it again"
            raise FailedPreconditionError(problem, reason="MEDIA_NOT_UPLOADED") from None
        except UploadDiffersError as error:
            wanted = f"{media.expected.size} bytes of {media.expected.content_type}"
            problem = f"{error}, and {wanted} were announced: upload that, or announce what you have"
            raise FailedPreconditionError(problem, reason="MEDIA_DIFFERS") from error

    async def _discard_unless_noted(self, published: Media) -> None:
        """Remove a publication that was not the first, or whose row has expired."""
        found = await self._media.get(published.user_id, published.media_id)
        if not found or found[0].key != published.key:
            await self._discard(published.key)

    async def _discard(self, key: str) -> None:
        with suppress(UnavailableError):  # an upload that stays is removed by the store itself
            await self._store.discard(key)


def _too_many_changes() -> OverloadedError:
    return OverloadedError("too many changes at once; try again", reason="CONTENTION")
