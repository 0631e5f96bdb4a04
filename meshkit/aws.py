"""What the engines on AWS share: the URLs that name a table or a bucket, and an open client.

A server that speaks like AWS is named by `endpoint_url`. Without credentials in the URL the usual chain finds them: environment,
profile, the role of the container or pod.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError

from meshkit.errors import UnavailableError

if TYPE_CHECKING:  # development stubs only
    from contextlib import AbstractAsyncContextManager

    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

DYNAMODB_FORM = "dynamodb://[KEY:SECRET@]REGION/TABLE[?endpoint_url=URL]"
S3_FORM = "s3://[KEY:SECRET@]BUCKET[/PREFIX]?region=REGION[&endpoint_url=URL]"
CONNECT_TIMEOUT_S = 1.0
# Shorter than the 20 s or so after which AWS closes a connection that idles: a call must not meet one that is just being closed.
KEEPALIVE_S = 12.0
# What can be raised where credentials come from: a service that refuses, a file or a command that is missing or gives nonsense.
CREDENTIALS_ERRORS = (BotoCoreError, ClientError, OSError, RuntimeError, ValueError)
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Access:
    """Where a service answers, and who asks. Without `key` the usual chain finds the credentials."""

    region: str
    endpoint_url: str | None = None
    key: str | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TableUrl:
    """What a `dynamodb://` URL says."""

    access: Access
    table: str


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """What an `s3://` URL says. The prefix has no slash at its ends, and may be empty."""

    access: Access
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Service:
    """What it takes to call a service: its address, a region and credentials to sign with, and a file of trusted certificates."""

    url: str
    region: str
    credentials: AioCredentials | AioRefreshableCredentials
    ca_bundle: str | None


def parse_dynamodb_url(url: str) -> TableUrl:
    """Read `dynamodb://[KEY:SECRET@]REGION/TABLE[?endpoint_url=URL]`. Raises ValueError, which never repeats the URL's secret."""
    key, secret, region, path, options = _parts(url, "dynamodb", {"endpoint_url"}, DYNAMODB_FORM)
    table = path.removeprefix("/")
    if not _REGION.fullmatch(region):
        _refuse("the region has to be one such as eu-central-1", DYNAMODB_FORM)
    if not _TABLE.fullmatch(table):
        _refuse("a table's name has 3 to 255 of A-Z a-z 0-9 _ . -", DYNAMODB_FORM)
    return TableUrl(Access(region, options.get("endpoint_url"), key, secret), table)


def parse_s3_url(url: str) -> BucketUrl:
    """Read `s3://[KEY:SECRET@]BUCKET[/PREFIX]?region=REGION[&endpoint_url=URL]`. Raises ValueError, never with the URL's secret."""
    key, secret, bucket, path, options = _parts(url, "s3", {"endpoint_url", "region"}, S3_FORM)
    if not _BUCKET.fullmatch(bucket):
        _refuse("a bucket's name has 3 to 63 of a-z 0-9 . -", S3_FORM)
    if not _REGION.fullmatch(options.get("region", "")):
        _refuse("the region has to be one such as eu-central-1", S3_FORM)
    return BucketUrl(Access(options["region"], options.get("endpoint_url"), key, secret), bucket, unquote(path).strip("/"))


@overload
def open_client(
    service: Literal["dynamodb"], access: Access, *, read_timeout: float, connections: int, **options: object
) -> "AbstractAsyncContextManager[DynamoDBClient]": ...
@overload
def open_client(
    service: Literal["s3"], access: Access, *, read_timeout: float, connections: int, **options: object
) -> "AbstractAsyncContextManager[S3Client]": ...
@asynccontextmanager
async def open_client(
    service: Literal["dynamodb", "s3"], access: Access, *, read_timeout: float, connections: int, **options: Any
) -> AsyncIterator[Any]:
    """Open a client, and close it with the context. It does not try again by itself: who calls knows what may be repeated.

    `read_timeout` (seconds) is for each wait on the connection, `connections` bounds the pool; `options` are further settings of
    `AioConfig`. A call whose parameters are wrong is refused by the server, not before: checking them costs more than signing.

    Raises:
        UnavailableError: no client can be made of this, such as of a profile that does not exist.

    """
    config = AioConfig(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1},
        parameter_validation=False,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connector_args={"keepalive_timeout": KEEPALIVE_S},
    ).merge(AioConfig(**options))
    async with AsyncExitStack() as stack:
        with _understood(service):
            opening = _session(access).create_client(
                service, region_name=access.region, endpoint_url=access.endpoint_url, config=config
            )
            client = await stack.enter_async_context(opening)
        yield client


async def find_service(service: Literal["dynamodb"], access: Access) -> Service:
    """Find out what a client would: for who signs requests without one.

    Raises:
        UnavailableError: there are no credentials, or no client can be made of this.

    """
    url = access.endpoint_url
    if not url:
        async with open_client(service, access, read_timeout=1.0, connections=1) as client:
            url = client.meta.endpoint_url
    session = _session(access)
    with _understood(service):
        credentials = await session.get_credentials()
    if credentials is None:
        raise UnavailableError(f"there are no AWS credentials for {service}, neither in its URL nor around", reason="AWS_UNUSABLE")
    return Service(url, access.region, credentials, session.get_config_variable("ca_bundle"))


def _session(access: Access) -> AioSession:
    session = get_session()
    if access.key and access.secret:
        session.set_credentials(access.key, access.secret)
    return session


@contextmanager
def _understood(service: str) -> Iterator[None]:
    try:
        yield
    except CREDENTIALS_ERRORS as error:
        raise UnavailableError(f"a client of {service} cannot be made: {error}", reason="AWS_UNUSABLE") from None


def _parts(url: str, scheme: str, known: set[str], form: str) -> tuple[str | None, str | None, str, str, dict[str, str]]:
    """Give key, secret, host, path and options. The port is not looked at: a host here is a name."""
    parts = _split(url, form)
    user, at, host = parts.netloc.rpartition("@")
    key, _, secret = user.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme != scheme or parts.fragment or not host:
        _refuse("it is of another form", form)
    if at and not (key and secret):
        _refuse("a key needs its secret; write / and @ in them as %2F and %40", form)
    if options.keys() - known:
        _refuse("it has an option that is not known", form)
    if (endpoint := options.get("endpoint_url")) is not None:
        _check_endpoint(endpoint, form)
        options["endpoint_url"] = endpoint.rstrip("/")
    return (unquote(key) or None, unquote(secret) or None, host, parts.path, options)


def _check_endpoint(endpoint: str, form: str) -> None:
    parts = _split(endpoint, form)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        _refuse("endpoint_url has to be http://HOST[:PORT] or https://HOST[:PORT]", form)


def _split(url: str, form: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # whose text repeats what stands where the secret does
        _refuse("it is of another form", form)


def _refuse(problem: str, form: str) -> NoReturn:
    """Say what is wrong without repeating anything of the URL: with a slip in it, any part may be the secret's."""
    raise ValueError(f"the URL is wrong: {problem}. Right is {form}") from None
