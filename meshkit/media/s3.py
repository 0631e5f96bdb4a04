"""Media in an S3 bucket. Clients send the bytes to S3 itself; a CDN, or on one machine the bucket, serves what is published.

No call is repeated here. All are idempotent, and so is completing an upload, which callers repeat as a whole.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meshkit.aws import BucketUrl, open_client
from meshkit.errors import OverloadedError
from meshkit.lifecycle import background
from meshkit.media.port import (
    Arrived,
    NotUploadedError,
    Stored,
    Upload,
    UploadChangedError,
    UploadDiffersError,
    check_arrival,
    check_publication,
    check_upload,
    type_of,
)
from meshkit.media.s3_bucket import Bucket
from meshkit.media.s3_calls import RefusedError, answer, refusals_hidden
from meshkit.media.types import MAX_BYTES
from meshkit.single_flight import SingleFlight

if TYPE_CHECKING:  # development stubs only
    from types_aiobotocore_s3 import S3Client

DEFAULT_DEADLINE = 8.0
# Copies that are under way at once, and the connections for them and for all other calls.
_COPIES, _CONNECTIONS = 50, 100
# S3 copies within a region at several times this rate, in bytes a second: 512 MiB get 64 s more than other calls.
_COPY_RATE = 8 * 1_048_576
_IMMUTABLE = "public, max-age=31536000, immutable"
_AWS = (".amazonaws.com", ".amazonaws.com.cn")


@asynccontextmanager
async def open_s3(where: BucketUrl, *, public_url: str, deadline: float = DEFAULT_DEADLINE) -> AsyncIterator["S3Media"]:
    """Open a store in a bucket, below the URL's prefix. `public_url` is where a CDN serves that prefix.

    Without one the bucket serves itself: it must be on a private endpoint, and anybody may read what is published there. A missing
    bucket is made; only such a bucket is changed, at each start. A bucket that does not answer is only logged, and prepared when it
    does: posts without media do not need it.

    `deadline` is for each call to S3, in seconds; a copy has more, by its size.

    Raises:
        ValueError: neither a public URL nor a private endpoint is given.

    """
    if not public_url and _is_aws(where.access.endpoint_url):
        raise ValueError("a bucket on AWS needs a public URL: that of the CDN which serves it")
    connecting = open_client(
        "s3", where.access, read_timeout=_copy_deadline(MAX_BYTES, deadline), connections=_CONNECTIONS, **options(where)
    )
    async with connecting as client, SingleFlight[str, None]() as copies:
        bucket = Bucket(client, where.bucket, where.access.region, _prefix(where), not public_url, deadline)
        later = () if await bucket.prepare() else (bucket.keep_preparing(),)
        async with background(*later):
            yield S3Media(client, where, public_url, deadline, copies)


def options(where: BucketUrl) -> dict[str, object]:
    """Give a client's settings: signatures of version 4, and on AWS URLs that name bucket and region."""
    style = "path" if where.access.endpoint_url else "virtual"
    return {"signature_version": "s3v4", "s3": {"addressing_style": style}}


class S3Media:
    """A `meshkit.media.port.MediaStore` in an S3 bucket. See `open_s3`."""

    def __init__(
        self, client: "S3Client", where: BucketUrl, public_url: str, deadline: float, publishing: SingleFlight[str, None]
    ) -> None:
        self._client = client
        self._bucket = where.bucket
        self._prefix = _prefix(where)
        endpoint = (where.access.endpoint_url or "").rstrip("/")
        self._public_url = public_url or f"{endpoint}/{self._bucket}/{self._prefix}".rstrip("/")
        self._deadline = deadline
        self._publishing = publishing
        self._room = asyncio.Semaphore(_COPIES)

    @property
    def public_url(self) -> str:
        """Where published files are read."""
        return self._public_url

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
        with refusals_hidden():
            return Upload(await answer(signing, self._deadline), headers)

    async def arrived(self, upload: str, expected: Stored) -> Arrived:
        """Tell what has arrived; its version is its entity tag."""
        check_arrival(upload, expected)
        with refusals_hidden():
            found = await self._head(upload)
            if not found:
                await answer(self._client.head_bucket(Bucket=self._bucket), self._deadline)  # a lost bucket is no missing upload
                raise NotUploadedError
        stored, version = found
        if stored != expected:
            raise UploadDiffersError(stored)
        return Arrived(upload, stored, version)

    async def publish(self, arrived: Arrived, key: str) -> None:
        """Publish what has arrived. A large copy may take longer than the caller has: it goes on, and a repeat joins it."""
        check_publication(arrived, key)
        for task in self._publishing.start([key], partial(self._publish, arrived)):
            await asyncio.shield(task)

    async def discard(self, key: str) -> None:
        """Remove a file."""
        type_of(key)  # refuses what is not a key
        with refusals_hidden():
            await answer(self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key), self._deadline)

    async def _publish(self, arrived: Arrived, keys: list[str]) -> None:
        (key,) = keys
        with refusals_hidden():
            if await self._head(key):
                return
            try:
                await self._copy(arrived, key)
            except RefusedError as refusal:
                if not refusal.is_conflict and not refusal.is_missing:
                    raise
                if not await self._head(key):  # so the condition that failed is the upload's
                    raise UploadChangedError from None

    async def _copy(self, arrived: Arrived, key: str) -> None:
        """Copy exactly what has arrived. The copy has none of the uploader's headers but the type."""
        if self._room.locked():
            raise OverloadedError("too many files are being published; try again", reason="MEDIA_BUSY")
        async with self._room:
            copy = self._client.copy_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                CopySource={"Bucket": self._bucket, "Key": self._prefix + arrived.upload},
                CopySourceIfMatch=arrived.version,
                IfNoneMatch="*",
                MetadataDirective="REPLACE",
                ContentType=arrived.stored.content_type,
                CacheControl=_IMMUTABLE,
            )
            await answer(copy, _copy_deadline(arrived.stored.size, self._deadline))

    async def _head(self, key: str) -> tuple[Stored, str] | None:
        """Give what is under a key, and its entity tag."""
        try:
            head = await answer(self._client.head_object(Bucket=self._bucket, Key=self._prefix + key), self._deadline)
        except RefusedError as refusal:
            if refusal.is_missing:
                return None
            raise
        return Stored(head.get("ContentType", ""), head["ContentLength"]), head["ETag"]


def _prefix(where: BucketUrl) -> str:
    return f"{where.prefix}/" if where.prefix else ""


def _copy_deadline(size: int, deadline: float) -> float:
    return deadline + size / _COPY_RATE


def _is_aws(endpoint: str | None) -> bool:
    return endpoint is None or (urlsplit(endpoint).hostname or "").rstrip(".").endswith(_AWS)
