"""Signing requests, with credentials that end, such as those of a pod's role, renewed beside the calls that need them.

Renewing may take longer than a call has: it is one task for all callers, and goes on when they give up.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiobotocore.credentials import AioRefreshableCredentials
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from meshkit.aws import Service

# Credentials that live longer than this are used while others are fetched: 15 minutes before their end that begins.
LAST_MOMENT_S = 60
# Who gives credentials is not asked more often, whatever it answers.
RENEW_EVERY_S = 1.0
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_signer(service: Service) -> AsyncIterator["Signer"]:
    """Sign for the length of a block; a renewal that is under way at its end is given up."""
    signer = Signer(service)
    try:
        yield signer
    finally:
        await signer.close()


class Signer:
    """Signs requests to a service. See `open_signer`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: ReadOnlyCredentials | None = None
        self._renewal: asyncio.Task[ReadOnlyCredentials] | None = None
        self._renewed_at = 0.0

    async def sign(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """Give the headers of a POST with its signature.

        Raises one of `meshkit.aws.CREDENTIALS_ERRORS`: there are no credentials.
        """
        request = AWSRequest("POST", self._service.url, headers, body)
        SigV4Auth(await self._credentials(), "dynamodb", self._service.region).add_auth(request)
        return dict(request.headers.items())

    async def close(self) -> None:
        """Give up a renewal that is under way."""
        if self._renewal:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _credentials(self) -> ReadOnlyCredentials:
        source = self._service.credentials
        if not (isinstance(source, AioRefreshableCredentials) and source.refresh_needed()):
            self._known = await source.get_frozen_credentials()
            return self._known
        renewal = self._renewing()
        if self._known and not source.refresh_needed(LAST_MOMENT_S):
            return self._known
        return await asyncio.shield(renewal)

    def _renewing(self) -> asyncio.Task[ReadOnlyCredentials]:
        """Give the renewal that is under way, or that ended just now, or begin one."""
        now = asyncio.get_running_loop().time()
        if self._renewal is None or (self._renewal.done() and now >= self._renewed_at + RENEW_EVERY_S):
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(_note)
        return self._renewal

    async def _renew(self) -> ReadOnlyCredentials:
        try:
            self._known = await self._service.credentials.get_frozen_credentials()
            return self._known
        finally:
            self._renewed_at = asyncio.get_running_loop().time()


def _note(renewal: asyncio.Task[ReadOnlyCredentials]) -> None:
    """Log a failure, as there may be nobody who waits for it."""
    if not renewal.cancelled() and (error := renewal.exception()):
        _log.warning("table.credentials_not_renewed", problem=f"{type(error).__name__}: {error}")
