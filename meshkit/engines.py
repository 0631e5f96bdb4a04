"""Which engine is behind a URL. Only composition roots use this."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from meshkit.media.filesystem import open_files
from meshkit.media.folder import folder_of
from meshkit.media.port import MediaStore
from meshkit.media.signing import UploadSigner
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue
from meshkit.table.port import Table
from meshkit.table.sqlite import open_sqlite

_GATEWAY = "http://127.0.0.1:8080"
_QUEUE_URLS = (
    "the queue's URL is wrong: right is memory://, amqp://user:password@host:port/vhost or amqps://…, "
    "with # / ? and @ in the password as %23 %2F %3F and %40"
)
_log = structlog.get_logger(__name__)


def open_table(url: str) -> AbstractAsyncContextManager[Table]:
    """Open a table. Raises ValueError for a URL that is neither of these, without repeating it: it may hold a secret.

    `sqlite:///relative/path` or `sqlite:////absolute/path`, or `dynamodb://[KEY:SECRET@]REGION/TABLE[?endpoint_url=URL]`.
    """
    if url.startswith("dynamodb:"):
        # Not with the others: the AWS client takes a quarter of a second to import, and a mesh on SQLite never needs it.
        from meshkit.aws import parse_dynamodb_url  # noqa: PLC0415
        from meshkit.table.dynamodb import open_dynamodb  # noqa: PLC0415

        return open_dynamodb(parse_dynamodb_url(url))
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or len(parts.path) <= 1:
        raise ValueError(
            "the table's URL is wrong: right is sqlite:///path, with # and ? in the path as %23 and %3F, "
            "or dynamodb://[KEY:SECRET@]REGION/TABLE[?endpoint_url=URL]"
        )
    return open_sqlite(Path(unquote(parts.path[1:])))


def open_queue(url: str) -> AbstractAsyncContextManager[Queue]:
    """Open a broker: `memory://`, which reaches only this process, or RabbitMQ.

    That is `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or `amqps://` with TLS. It need not be there yet. Raises ValueError for another
    URL, without repeating it: it may hold a secret.
    """
    if url.startswith(("amqp:", "amqps:")):
        _check_amqp(url)
        # Not with the others: a mesh in one process never loads RabbitMQ's client.
        from meshkit.queue.rabbitmq import open_rabbitmq  # noqa: PLC0415

        return open_rabbitmq(url)
    if url != "memory://":
        raise ValueError(_QUEUE_URLS)
    _log.warning("memory:// reaches only this process: events for services elsewhere wait in the outbox")
    return MemoryQueue()


def open_media(url: str, *, public_url: str, secret: bytes) -> AbstractAsyncContextManager[MediaStore]:
    """Open a media store: `file:///absolute/path`, or `s3://…` as `meshkit.aws.parse_s3_url` reads it.

    `public_url` is where clients read what is published; empty takes the gateway's usual address, or the bucket's private endpoint.
    `secret` signs the upload URLs of a folder. Raises ValueError for another URL.
    """
    if not url.startswith("s3:"):
        return open_files(folder_of(url), public_url=public_url or _GATEWAY, signer=UploadSigner(secret))
    from meshkit.aws import parse_s3_url  # noqa: PLC0415 - only who uses it pays for loading it
    from meshkit.media.s3 import open_s3  # noqa: PLC0415

    return open_s3(parse_s3_url(url), public_url=public_url)


def _check_amqp(url: str) -> None:
    try:
        parts = urlsplit(url)
        right = bool(parts.hostname) and parts.port != 0 and not parts.fragment and "@" not in parts.path + parts.query
    except ValueError:  # which repeats a part of the URL
        right = False
    if not right:
        raise ValueError(_QUEUE_URLS)
