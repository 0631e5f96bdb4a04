"""Media in an S3 bucket. Clients send the bytes to S3 itself; a CDN, or on one machine the bucket, serves what is published.

No call is repeated here. All are idempotent, and so is completing an upload, which callers repeat as a whole.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from meshkit.aws import BucketUrl, open_client
from meshkit.errors import UnavailableError
from meshkit.media.port import NotUploadedError, Stored, Upload, UploadDiffersError, check_publication, check_upload, type_of
from meshkit.media.s3_bucket import answer, is_conflict, is_missing, let_anybody_read, make_bucket

if TYPE_CHECKING:  # development stubs only
    from types_aiobotocore_s3 import S3Client

DEFAULT_DEADLINE = 8.0
_CONNECTIONS = 50
_IMMUTABLE = "public, max-age=31536000, immutable"
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_s3(where: BucketUrl, *, public_url: str, deadline: float = DEFAULT_DEADLINE) -> AsyncIterator["S3Media"]:
    """Open a store in a bucket, below the URL's prefix. `public_url` is where a CDN serves that prefix.

    Without one the bucket serves itself: it must be on a private endpoint, and anybody may read what is published there. A missing
    bucket is made. A bucket that does not answer is only logged: posts without media do not need it.

    `deadline` is for each call to S3, in seconds.

    Raises:
        ValueError: neither a public URL nor a private endpoint is given.

    """
    if not public_url and not where.access.endpoint_url:
        raise ValueError("a bucket on AWS needs a public URL: that of the CDN which serves it")
    async with open_client("s3", where.access, read_timeout=deadline, connections=_CONNECTIONS, **options(where)) as client:
        media = S3Media(client, where, public_url, deadline)
        try:
            await media.prepare()
        except UnavailableError as error:
            _log.warning("the media bucket cannot be prepared", bucket=where.bucket, error=error.message)
        yield media


def options(where: BucketUrl) -> dict[str, object]:
    """Give a client's settings: signatures of version 4, and on AWS URLs that name bucket and region."""
    style = "path" if where.access.endpoint_url else "virtual"
    return {"signature_version": "s3v4", "s3": {"addressing_style": style}}


class S3Media:
    """A `meshkit.media.port.MediaStore` in an S3 bucket. See `open_s3`."""

    def __init__(self, client: "S3Client", where: BucketUrl, public_url: str, deadline: float) -> None:
        self._client = client
        self._bucket = where.bucket
        self._region = where.access.region
        self._prefix = f"{where.prefix}/" if where.prefix else ""
        self._serves_itself = not public_url
        self._public_url = public_url or f"{where.access.endpoint_url}/{self._bucket}/{self._prefix}".rstrip("/")
        self._deadline = deadline

    @property
    def public_url(self) -> str:
        """Where published files are read."""
        return self._public_url

    async def prepare(self) -> None:
        """Get the bucket ready. Raises UnavailableError."""
        await make_bucket(self._client, self._bucket, self._region, self._prefix, self._deadline)
        if self._serves_itself:
            await let_anybody_read(self._client, self._bucket, self._prefix, self._deadline)

    async def presign_put(self, key: str, expected: Stored, seconds: int) -> Upload:
        """Let whoever has the URL upload such a file: type and length are signed headers."""
        check_upload(key, expected, seconds)
        wanted = {
            "Bucket": self._bucket,
            "Key": self._prefix + key,
            "ContentType": expected.content_type,
            "ContentLength": expected.size,
        }
        signing = self._client.generate_presigned_url("put_object", Params=wanted, ExpiresIn=seconds)
        headers = {"content-type": expected.content_type, "content-length": str(expected.size)}
        return Upload(await answer(signing, self._deadline), headers)

    async def publish(self, upload: str, key: str, expected: Stored) -> None:
        """Publish an upload once."""
        check_publication(upload, key, expected)
        if not await self._head(key):
            await self._copy(upload, key, expected)
        with suppress(UnavailableError):  # what stays is removed by the bucket's lifecycle rule
            await answer(self._client.delete_object(Bucket=self._bucket, Key=self._prefix + upload), self._deadline)

    async def inspect(self, key: str) -> Stored | None:
        """Tell what is under a key."""
        found = await self._head(key)
        return found[0] if found else None

    async def _copy(self, upload: str, key: str, expected: Stored) -> None:
        found = await self._head(upload)
        if found and found[0] != expected:
            raise UploadDiffersError(found[0])
        if found and await self._copied(upload, found[1], key, expected):
            return
        # The upload is gone or was replaced between two calls, or another completion was first.
        if not await self._head(key):
            if found:
                raise UnavailableError("the upload is changing; try again", reason="MEDIA_CHANGING")
            raise NotUploadedError

    async def _copied(self, upload: str, etag: str, key: str, expected: Stored) -> bool:
        """Copy exactly what was looked at, unless something is there. The copy has none of the uploader's headers but the type."""
        copy = self._client.copy_object(
            Bucket=self._bucket,
            Key=self._prefix + key,
            CopySource={"Bucket": self._bucket, "Key": self._prefix + upload},
            CopySourceIfMatch=etag,
            IfNoneMatch="*",
            MetadataDirective="REPLACE",
            ContentType=expected.content_type,
            CacheControl=_IMMUTABLE,
        )
        try:
            await answer(copy, self._deadline)
        except UnavailableError as error:
            if is_conflict(error) or is_missing(error):
                return False
            raise
        return True

    async def _head(self, key: str) -> tuple[Stored, str] | None:
        """Give what is under a key, and its entity tag."""
        type_of(key)  # refuses what is not a key
        try:
            head = await answer(self._client.head_object(Bucket=self._bucket, Key=self._prefix + key), self._deadline)
        except UnavailableError as error:
            if is_missing(error):
                return None
            raise
        return Stored(head.get("ContentType", ""), head["ContentLength"]), head["ETag"]
