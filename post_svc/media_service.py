"""What becomes of uploads: announced, published once they have arrived."""

from dataclasses import dataclass

from meshkit.clock import now_ms
from meshkit.errors import FailedPreconditionError
from meshkit.ids import IdGenerator, id_bytes, id_from
from meshkit.media.port import MAX_UPLOAD_SECONDS, MediaStore, NotUploadedError, Stored, Upload, UploadDiffersError
from meshkit.requests import RequestId, answer_record, first_answer
from meshkit.table.port import ConditionFailedError, Table
from post_svc.media import Media, media_not_found, require_taken
from post_svc.media_rows import MediaRepository


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
        media = Media.new(self._ids.next(), user_id, expected)
        answered = [answer_record(request, id_bytes(media.media_id))] if request else []
        try:
            await self._table.write(*answered, self._media.announcement(media))
        except ConditionFailedError:
            made = await first_answer(self._table, request) if request else None
            if not made:
                return await self.create(user_id, expected, request)
            media = await self.get(user_id, id_from(made))
        return await self._with_upload(media)

    async def get(self, user_id: int, media_id: int) -> Media:
        """Give media of the user's. Raises NotFoundError."""
        found = await self._media.get(user_id, media_id)
        if not found:
            raise media_not_found()
        return found[0]

    async def complete(self, user_id: int, media_id: int) -> Media:
        """Publish what was uploaded. Doing so twice is not an error.

        First the file gets to its place, then the row says so: a crash between the two is mended by the next try.

        Raises:
            NotFoundError: the user has no such media.
            FailedPreconditionError: nothing is uploaded yet, or something else than was announced.

        """
        found = await self._media.get(user_id, media_id)
        if not found:
            raise media_not_found()
        media, unchanged = found
        if media.ready:
            return media
        await self._publish(media)
        try:
            await self._table.write(self._media.publication(media.published(), unchanged))
        except ConditionFailedError:  # another completion was first
            return await self.get(user_id, media_id)
        return media.published()

    def url(self, media: Media) -> str:
        """Give where published media is read."""
        return f"{self._store.public_url}/{media.key}"

    async def _with_upload(self, media: Media) -> Announced:
        if media.ready:
            return Announced(media)
        expires_ms = (now_ms() // 1000 + MAX_UPLOAD_SECONDS) * 1000
        upload = await self._store.presign_put(media.upload_key, media.expected, MAX_UPLOAD_SECONDS)
        return Announced(media, upload, expires_ms)

    async def _publish(self, media: Media) -> None:
        try:
            await self._store.publish(media.upload_key, media.key, media.expected)
        except NotUploadedError:
            problem = "nothing is uploaded yet: send the file to the upload's URL, then complete it again"
            raise FailedPreconditionError(problem, reason="MEDIA_NOT_UPLOADED") from None
        except UploadDiffersError as error:
            wanted = f"{media.expected.size} bytes of {media.expected.content_type}"
            problem = f"{error}, and {wanted} were announced: upload that, or announce what you have"
            raise FailedPreconditionError(problem, reason="MEDIA_DIFFERS") from error
