"""How every call to S3 ends: with an answer in time, or as an error. What S3 says is for the log, not for users."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from meshkit.errors import UnavailableError

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class RefusedError(Exception):
    """S3 answered a call with an error: its own code and message, and the HTTP status. It does not leave this engine."""

    def __init__(self, error: ClientError) -> None:
        said = error.response.get("Error", {})
        self.operation = error.operation_name
        self.code = str(said.get("Code", ""))
        self.message = str(said.get("Message", ""))
        self.status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        super().__init__(f"{self.operation}: {self.code}")

    @property
    def is_missing(self) -> bool:
        """Whether a file is not there. To a HEAD, whose answer has no body, a missing bucket looks the same."""
        return self.code in {"404", "NoSuchKey"}

    @property
    def is_conflict(self) -> bool:
        """Whether a condition of the call did not hold."""
        return self.code in {"PreconditionFailed", "ConditionalRequestConflict"}

    @property
    def is_passing(self) -> bool:
        """Whether the same call may be taken later."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


async def answer(call: Awaitable[T], deadline: float) -> T:
    """Await a call for so many seconds.

    Raises:
        RefusedError: S3 answered with an error.
        UnavailableError: S3 did not answer, which is logged.

    """
    try:
        async with asyncio.timeout(deadline):
            return await call
    except ClientError as error:
        raise RefusedError(error) from error
    except (BotoCoreError, OSError) as error:  # a time limit that is over is an OSError
        _log.warning("the media store does not answer", error=f"{type(error).__name__}: {error}")
        raise UnavailableError("the media store does not answer; try again", reason="MEDIA_FAILED") from error


@contextmanager
def refusals_hidden() -> Iterator[None]:
    """Log a refusal, and tell callers only that there was one: as an UnavailableError."""
    try:
        yield
    except RefusedError as refusal:
        log_refusal("the media store refused a call", refusal)
        raise UnavailableError("the media store cannot do it; try again", reason="MEDIA_FAILED") from None


def log_refusal(event: str, refusal: RefusedError, **context: object) -> None:
    """Log what S3 said: as a warning if it may pass by itself."""
    log = _log.warning if refusal.is_passing else _log.error
    log(event, operation=refusal.operation, code=refusal.code, message=refusal.message, **context)
