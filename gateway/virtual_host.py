"""Where each request goes: nothing but what the contracts' annotations open to apps is routed."""

from collections import defaultdict
from collections.abc import Iterable

from gateway.clusters import REFLECTION, seconds
from gateway.guard import script_name
from gateway.media import MEDIA_VERBS, media_routes
from gateway.replies import HEALTH_PATH, OPENAPI_PATH, Json, header
from gateway.retries import retry_policy
from gateway.routes import Access, Method, Route
from gateway.settings import GatewaySettings

BUFFER = "envoy.filters.http.buffer"
COMPRESSOR = "envoy.filters.http.compressor"
CORS = "envoy.filters.http.cors"
GUARD = "envoy.filters.http.lua"
JWT = "envoy.filters.http.jwt_authn"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"

_TYPE = "type.googleapis.com/"
_DISABLED = {"@type": f"{_TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}
_GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}


def route_config(routes: Iterable[Route], methods: Iterable[Method], openapi: str, settings: GatewaySettings) -> Json:
    """Make all routes: REST, gRPC, the gateway's own, 405 for known paths, 404 for the rest."""
    known = list(routes)
    entries = [
        *_preflights(known, settings),
        *(_rest(route, settings) for route in sorted(known, key=_specific_first)),
        *(_grpc(method, settings) for method in methods),
        *_reflection(settings),
        *media_routes(settings, dict.fromkeys((COMPRESSOR, JWT, BUFFER, GUARD, TRANSCODER), _DISABLED)),
        _openapi(openapi),
        *_wrong_method(known),
        _answer({"prefix": "/"}, 404),
    ]
    host: Json = {"name": "apps", "domains": ["*"], "routes": entries}
    if settings.cors_origins:
        host["typed_per_filter_config"] = {CORS: _cors(settings)}
    return {
        "name": "apps",
        "virtual_hosts": [host],
        "max_direct_response_body_size_bytes": len(openapi.encode()) + 1,
    }


def _specific_first(route: Route) -> tuple[int, int, str]:
    # A variable takes whatever is not a slash, also a verb after a colon: the longer template comes first.
    return len(route.variables), -len(route.template), route.template


def _path(route: Route) -> Json:
    if route.variables:
        return {"safe_regex": {"regex": route.pattern}}
    return {"path": route.template}


def _verb(verb: str) -> Json:
    return {"name": ":method", "string_match": {"exact": verb}}


def _rest(route: Route, settings: GatewaySettings) -> Json:
    entry = _forward({**_path(route), "headers": [_verb(route.verb)]}, route.rpc, settings)
    guard = {"@type": f"{_TYPE}envoy.extensions.filters.http.lua.v3.LuaPerRoute", "name": script_name(route)}
    return {
        **entry,
        "typed_per_filter_config": {**_requirement(route.rpc.access), GUARD: guard},
        "response_headers_to_remove": ["grpc-accept-encoding", "grpc-retry-pushback-ms"],
    }


def _grpc(method: Method, settings: GatewaySettings) -> Json:
    return _forward({"path": method.grpc_path, "headers": [_verb("POST"), _GRPC]}, method, settings)


def _forward(match: Json, method: Method, settings: GatewaySettings) -> Json:
    limit = "0s" if method.streaming else seconds(settings.request_timeout)
    milliseconds = round(settings.request_timeout * 1000)
    deadline = {"header": {"key": "grpc-timeout", "value": f"{milliseconds}m"}, "append_action": "ADD_IF_ABSENT"}
    return {
        "match": match,
        "route": {
            "cluster": method.service,
            "timeout": limit,
            # The first bounds what a gRPC client may ask for; without its header only the second bounds a call.
            "max_stream_duration": {"grpc_timeout_header_max": limit}
            | ({} if method.streaming else {"max_stream_duration": limit}),
            "retry_policy": retry_policy(method, settings),
        },
        "request_headers_to_add": [] if method.streaming else [deadline],
        "typed_per_filter_config": _requirement(method.access),
    }


def _requirement(access: Access) -> Json:
    return {JWT: {"@type": f"{_TYPE}envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", "requirement_name": access.value}}


def _reflection(settings: GatewaySettings) -> list[Json]:
    """Show the contract. A reflection call stays open in both directions, so it cannot be buffered."""
    if not settings.reflection_upstream:
        return []
    return [
        {
            "match": {"path": f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", "headers": [_GRPC]},
            "route": {"cluster": REFLECTION, "timeout": "0s"},
            "typed_per_filter_config": {
                **_requirement(Access.PUBLIC),
                BUFFER: _DISABLED,
                TRANSCODER: _DISABLED,
            },
        }
        for version in ("v1", "v1alpha")
    ]


def _openapi(document: str) -> Json:
    found = _answer({"path": OPENAPI_PATH, "headers": [_verb("GET")]}, 200)
    found["direct_response"] = {"status": 200, "body": {"inline_string": document}}
    found["response_headers_to_add"] = [header("content-type", "application/json")]
    return found


def _wrong_method(routes: Iterable[Route]) -> list[Json]:
    """Answer 405 where another method would be right, and say which."""
    allowed: dict[str, set[str]] = defaultdict(set)
    paths: dict[str, Json] = {}
    for route in sorted(routes, key=_specific_first):
        paths.setdefault(route.pattern, _path(route))
        allowed[route.pattern].add(route.verb)
    for own in (HEALTH_PATH, OPENAPI_PATH):
        paths[own] = {"path": own}
        allowed[own] = {"GET"}
    return [_not_allowed(path, allowed[pattern]) for pattern, path in paths.items()]


def _not_allowed(path: Json, verbs: set[str]) -> Json:
    return {**_answer(path, 405), "response_headers_to_add": [header("allow", ", ".join(sorted(verbs)))]}


def _answer(match: Json, status: int) -> Json:
    """Answer without a service. The transcoder and the buffer would only get in the way."""
    return {
        "match": match,
        "direct_response": {"status": status},
        "typed_per_filter_config": {TRANSCODER: _DISABLED, BUFFER: _DISABLED},
    }


def _preflights(routes: Iterable[Route], settings: GatewaySettings) -> list[Json]:
    """Let the CORS filter answer preflights from the origins it knows.

    It only looks at routes that lead to a service. No preflight gets there: without a token it would be refused on its way.
    """
    service = next(iter(routes)).rpc.service
    asks = {"name": "access-control-request-method", "present_match": True}
    return [
        {
            "match": {
                "prefix": "/",
                "headers": [_verb("OPTIONS"), asks, {"name": "origin", "string_match": {"exact": origin}}],
            },
            "route": {"cluster": service},
            "typed_per_filter_config": _requirement(Access.USER),
        }
        for origin in settings.cors_origins
    ]


def _cors(settings: GatewaySettings) -> Json:
    return {
        "@type": f"{_TYPE}envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in settings.cors_origins],
        "allow_methods": ", ".join(
            sorted({"GET", "POST", "PATCH", "DELETE"} | ({*MEDIA_VERBS} if settings.edge_upstream else set()))
        ),
        "allow_headers": "authorization, content-type, grpc-timeout, range, x-grpc-web, x-user-agent",
        "expose_headers": "content-range, etag, grpc-message, grpc-status, grpc-status-details-bin, retry-after, x-request-id",
        "max_age": "600",
    }
