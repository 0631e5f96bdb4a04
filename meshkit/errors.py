"""What can go wrong, in the services' own words, and the one table that turns it into gRPC status codes."""

from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "feedmesh"


class FeedmeshError(Exception):
    """A failure that the caller is told about.

    `message` is for people and says what to mend; `reason` is for programs, in UPPER_SNAKE_CASE, and stable; `fields` names the
    request fields that are wrong, with what is wrong with each.
    """

    def __init__(self, message: str, *, reason: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.fields = dict(fields or {})


class InvalidArgumentError(FeedmeshError):
    """The request is wrong whatever the state of the system."""


class UnauthenticatedError(FeedmeshError):
    """There is no valid token."""


class PermissionDeniedError(FeedmeshError):
    """The caller is known, and may not do this."""


class NotFoundError(FeedmeshError):
    """What the request names does not exist, or is deleted."""


class FailedPreconditionError(FeedmeshError):
    """Something has to be done before this can be."""


class AlreadyExistsError(FeedmeshError):
    """What the request wants to make is taken."""


class OverloadedError(FeedmeshError):
    """A bound is reached: try again later."""


class UnavailableError(FeedmeshError):
    """Something needed does not answer: try again."""


STATUS: Mapping[type[FeedmeshError], grpc.StatusCode] = {
    InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
}


def invalid_field(field: str, problem: str) -> InvalidArgumentError:
    """One request field is wrong."""
    return InvalidArgumentError(f"{field} {problem}", reason="INVALID_FIELD", fields={field: problem})


def to_status(error: FeedmeshError) -> grpc.Status:
    """Give the gRPC status of an error, with google.rpc details that a program can read."""
    code: int = STATUS[type(error)].value[0]
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))]
    if error.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=problem) for field, problem in error.fields.items()
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    return rpc_status.to_status(status_pb2.Status(code=code, message=error.message, details=details))


class DependencyError(Exception):
    """Another service refused a call that it should have taken: a fault of ours, which trying again does not mend."""


def from_rpc_error(error: grpc.aio.AioRpcError, service: str) -> Exception:
    """Turn the failure of a call to another service into what our callers may know of it."""
    code, reason = error.code(), _reason(error)
    if code is grpc.StatusCode.NOT_FOUND and reason:
        return NotFoundError(error.details() or "not found", reason=reason)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(f"{service} has too much to do; try again", reason=reason or "DEPENDENCY_OVERLOADED")
    if code in _PASSING:
        return UnavailableError(f"{service} does not answer; try again", reason="DEPENDENCY_UNAVAILABLE")
    return DependencyError(f"{service} refused a call: {code.name}: {error.details()}")


_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNKNOWN,
}


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _reason(error: grpc.aio.AioRpcError) -> str | None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an AioRpcError has what it reads: code, details, metadata
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return str(info.reason)
    return None
