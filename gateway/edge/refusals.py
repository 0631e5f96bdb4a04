"""Every refusal as `{code, message, details}`, as the gateway's own and the services' are."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web

from meshkit.errors import DOMAIN

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_INTERNAL = 13
# The gRPC code that says the same as an HTTP status.
_CODES = {
    HTTPStatus.BAD_REQUEST: 3,
    HTTPStatus.FORBIDDEN: 7,
    HTTPStatus.NOT_FOUND: 5,
    HTTPStatus.METHOD_NOT_ALLOWED: 12,
    HTTPStatus.REQUEST_TIMEOUT: 4,
    HTTPStatus.CONFLICT: 9,
    HTTPStatus.LENGTH_REQUIRED: 3,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: 11,
    HTTPStatus.TOO_MANY_REQUESTS: 8,
    HTTPStatus.INSUFFICIENT_STORAGE: 8,
    HTTPStatus.SERVICE_UNAVAILABLE: 14,
}
_log = structlog.get_logger(__name__)


class Refusal(Exception):  # noqa: N818 - it is an answer as much as an error
    """Ends a request. `message` is for people and says what to mend; `reason` is for programs, and stable."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer refusals, the router's too. What was not foreseen is logged, and hidden from the caller."""
    try:
        return await handler(request)
    except Refusal as refusal:
        detail: dict[str, object] = {"@type": _ERROR_INFO, "reason": refusal.reason, "domain": DOMAIN, "metadata": {}}
        return _answer(refusal.status, refusal.message, [detail])
    except web.HTTPException as error:
        answer = _answer(HTTPStatus(error.status), error.reason, [])
        answer.headers.update({name: value for name, value in error.headers.items() if name == "Allow"})
        return answer
    except ConnectionError:  # whose caller is gone
        raise
    except Exception as error:  # noqa: BLE001 - no text of ours or of a library's may leave
        _log.error("unexpected failure", path=request.path, exc_info=error)
        return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", [])


def _answer(status: HTTPStatus, message: str, details: list[dict[str, object]]) -> web.Response:
    body = {"code": _CODES.get(status, _INTERNAL), "message": message, "details": details}
    headers = {"Retry-After": "1"} if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE} else {}
    return web.json_response(body, status=status, headers=headers | {"Cache-Control": "no-store"})
