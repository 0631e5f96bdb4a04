"""Getting a bucket ready, and how every call to S3 ends: with an answer in time, or as an error of ours."""

import asyncio
import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from meshkit.errors import UnavailableError
from meshkit.media.port import PUBLISHED, UPLOADS

if TYPE_CHECKING:  # development stubs only
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.literals import BucketLocationConstraintType

_HOME = "us-east-1"  # the one region that a new bucket must not name

T = TypeVar("T")


async def answer(call: Awaitable[T], deadline: float) -> T:
    """Await a call for so many seconds. Raises UnavailableError; see `is_missing` and `is_conflict`."""
    try:
        async with asyncio.timeout(deadline):
            return await call
    except ClientError as error:
        raise UnavailableError(f"the media store refused a call: {_code(error)}", reason="MEDIA_FAILED") from error
    except (BotoCoreError, OSError) as error:  # a time limit that is over is an OSError
        raise UnavailableError("the media store does not answer; try again", reason="MEDIA_FAILED") from error


def is_missing(error: UnavailableError) -> bool:
    """Whether what the call named is not there."""
    return _code(error.__cause__) in {"404", "NoSuchKey", "NoSuchBucket"}


def is_conflict(error: UnavailableError) -> bool:
    """Whether a condition of the call did not hold."""
    return _code(error.__cause__) in {"PreconditionFailed", "ConditionalRequestConflict"}


async def make_bucket(client: "S3Client", bucket: str, region: str, prefix: str, deadline: float) -> None:
    """Make a bucket that is missing, with a rule that removes uploads which nobody published.

    S3 makes new buckets encrypted and closed to the public. Raises UnavailableError.
    """
    try:
        await answer(client.head_bucket(Bucket=bucket), deadline)
    except UnavailableError as error:
        if not is_missing(error):
            raise
        await _create(client, bucket, region, deadline)
        await _expire_uploads(client, bucket, prefix, deadline)


async def let_anybody_read(client: "S3Client", bucket: str, prefix: str, deadline: float) -> None:
    """Open what is published, and nothing else; let web pages of any origin upload with a signed URL. Raises UnavailableError."""
    published = f"arn:aws:s3:::{bucket}/{prefix}{PUBLISHED}*"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": published}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await answer(client.delete_public_access_block(Bucket=bucket), deadline)
    await answer(client.put_bucket_policy(Bucket=bucket, Policy=policy), deadline)
    pages = client.put_bucket_cors(
        Bucket=bucket,
        CORSConfiguration={
            "CORSRules": [{"AllowedMethods": ["GET", "HEAD", "PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["content-type"]}]
        },
    )
    await answer(pages, deadline)


async def _create(client: "S3Client", bucket: str, region: "BucketLocationConstraintType | str", deadline: float) -> None:
    if region == _HOME:
        creation = client.create_bucket(Bucket=bucket)
    else:
        creation = client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})  # type: ignore[typeddict-item]
    try:
        await answer(creation, deadline)
    except UnavailableError as error:
        if _code(error.__cause__) != "BucketAlreadyOwnedByYou":  # another worker was first
            raise


async def _expire_uploads(client: "S3Client", bucket: str, prefix: str, deadline: float) -> None:
    rule = client.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "unpublished-uploads",
                    "Status": "Enabled",
                    "Filter": {"Prefix": prefix + UPLOADS},
                    "Expiration": {"Days": 1},
                }
            ]
        },
    )
    await answer(rule, deadline)


def _code(error: BaseException | None) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
