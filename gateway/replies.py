"""What Envoy says when it answers itself: every refusal as `{code, message, details}` with the gRPC code that matches.

Native gRPC callers get the same code and message as a gRPC status.
"""

from dataclasses import dataclass, field

Json = dict[str, object]

# The transcoder makes a REST request into a gRPC one and leaves this header, which clients cannot send (`bootstrap` strips it).
_NOT_TRANSCODED: Json = {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": False}}}

HEALTH_PATH = "/healthz"
OPENAPI_PATH = "/openapi.json"
TEXT = "%LOCAL_REPLY_BODY%"
# Nobody knows here how far the service came.
_UNCERTAIN = "The request may have been done; with the same request_id a repeat is not done twice. Try again later"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to an HTTP status that Envoy gives, with its gRPC code; `status` is sent in place of that HTTP status.

    `to_grpc` is the code for native gRPC callers where custom gives them another one.
    """

    code: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    to_grpc: int | None = None


def replies(max_request_bytes: int) -> dict[int, Reply]:
    """Say the answer to each HTTP status; what is not here is answered by its class. `TEXT` is what Envoy itself says."""
    token = Reply(16, f"A valid user token is needed in the header `authorization: Bearer <token>`: {TEXT}", status=401)
    return {
        400: Reply(3, f"The request cannot be read; check its path, headers and body. {TEXT}"),
        401: token,
        403: token,  # Envoy's answer to a token that was made for another audience
        404: Reply(5, f"There is no such route. GET {OPENAPI_PATH} lists all of them", to_grpc=12),
        405: Reply(12, "The route does not take this HTTP method. The header `allow` lists those it takes"),
        408: Reply(4, "The request did not arrive in time. Send it again"),
        413: Reply(3, f"The request is too large. Send at most {max_request_bytes} bytes"),
        415: Reply(3, "The body must be JSON in UTF-8, with the header `content-type: application/json`"),
        429: Reply(8, "Too many requests. Try again later", {"retry-after": "1"}),
        431: Reply(3, "The request's headers are too large. Send fewer or smaller ones"),
        502: Reply(14, f"The service does not answer. {_UNCERTAIN}", {"retry-after": "1"}),
        503: Reply(14, f"The service does not answer. {_UNCERTAIN}", {"retry-after": "1"}),
        504: Reply(4, f"The service did not answer in time. {_UNCERTAIN}"),
    }


def local_reply_config(max_request_bytes: int) -> Json:
    """Configure all answers that Envoy makes itself."""
    known = replies(max_request_bytes)
    mappers = [_healthy()]
    for status, reply in known.items():
        mappers += _mappers(_status_is("EQ", status), reply)
    mappers += _mappers(_status_is("GE", 500), Reply(13, "The gateway could not answer. Try again later"))
    mappers += _mappers(_status_is("GE", 400), Reply(3, f"The request is refused: {TEXT}"))
    return {"mappers": mappers}


def _mappers(status_filter: Json, reply: Reply) -> list[Json]:
    for_grpc = {
        **_rewritten(reply),
        "filter": {
            "and_filter": {"filters": [status_filter, _header_is("content-type", {"prefix": "application/grpc"}), _NOT_TRANSCODED]}
        },
        "headers_to_add": [header("grpc-status", str(reply.to_grpc or reply.code)), *_headers(reply)],
        "body_format_override": {"text_format_source": {"inline_string": reply.message}},
    }
    for_rest = {
        **_rewritten(reply),
        "filter": status_filter,
        "headers_to_add": _headers(reply),
        "body_format_override": {"json_format": {"code": reply.code, "message": reply.message, "details": []}},
    }
    return [for_grpc, for_rest]


def _healthy() -> Json:
    wanted = [_status_is("EQ", 200), _header_is(":path", {"exact": HEALTH_PATH})]
    return {
        "filter": {"and_filter": {"filters": wanted}},
        "body_format_override": {"json_format": {"status": "SERVING"}},
    }


def _rewritten(reply: Reply) -> Json:
    return {"status_code": reply.status} if reply.status else {}


def _headers(reply: Reply) -> list[Json]:
    return [header(name, value) for name, value in reply.headers.items()]


def header(name: str, value: str) -> Json:
    """Set a header, over one that is there."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _status_is(op: str, status: int) -> Json:
    value = {"default_value": status, "runtime_key": "feedmesh.unused"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}


def _header_is(name: str, match: Json) -> Json:
    return {"header_filter": {"header": {"name": name, "string_match": match}}}
