"""The HTTP filters, in the order in which a request passes them; an answer passes them backwards."""

from collections.abc import Mapping
from pathlib import Path

from gateway.clusters import seconds
from gateway.replies import HEALTH_PATH, Json
from gateway.routes import Access
from gateway.settings import MAX_RESPONSE_BYTES, GatewaySettings, RateLimit
from gateway.virtual_host import BUFFER, COMPRESSOR, CORS, GUARD, JWT, TRANSCODER

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_PROVIDER = "users"
_PAYLOAD = "payload"
_NOBODY = "none"

_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def http_filters(services: list[str], scripts: Mapping[str, str], descriptor_file: Path, settings: GatewaySettings) -> list[Json]:
    """Give all filters; `scripts` are the guards by name.

    What is cheap and refuses comes first. The compressor sees answers after they became JSON.
    """
    return [
        _filter(CORS, "cors.v3.Cors", {}),
        _filter("envoy.filters.http.health_check", "health_check.v3.HealthCheck", _health(services)),
        _filter(COMPRESSOR, "compressor.v3.Compressor", _compressor()),
        _filter("envoy.filters.http.grpc_web", "grpc_web.v3.GrpcWeb", {}),
        _filter(JWT, "jwt_authn.v3.JwtAuthentication", _jwt(settings)),
        _filter("envoy.filters.http.local_ratelimit", "local_ratelimit.v3.LocalRateLimit", _rate_limit(settings)),
        _filter(BUFFER, "buffer.v3.Buffer", {"max_request_bytes": settings.max_request_bytes}),
        _filter(GUARD, "lua.v3.Lua", _guards(scripts)),
        _filter(TRANSCODER, "grpc_json_transcoder.v3.GrpcJsonTranscoder", _transcoder(services, descriptor_file, settings)),
        _filter("envoy.filters.http.router", "router.v3.Router", {"suppress_envoy_headers": True}),
    ]


def _filter(name: str, kind: str, config: Json) -> Json:
    return {"name": name, "typed_config": {"@type": f"{_FILTERS}.{kind}", **config}}


def _health(services: list[str]) -> Json:
    """Answer 200 when every service has a healthy process, else 503: while one of two is restarted, all is well."""
    return {
        "pass_through_mode": False,
        "headers": [
            {"name": ":path", "string_match": {"exact": HEALTH_PATH}},
            {"name": ":method", "string_match": {"exact": "GET"}},
        ],
        "cluster_min_healthy_percentages": {service: {"value": 1} for service in services},
    }


def _compressor() -> Json:
    gzip = {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}
    return {
        "response_direction_config": {
            "common_config": {"min_content_length": 256},
            "remove_accept_encoding_header": True,
        },
        "compressor_library": {"name": "gzip", "typed_config": gzip},
    }


def _jwt(settings: GatewaySettings) -> Json:
    """Verify user tokens. Each route names its requirement, so no trick with paths gets around it."""
    provider = {
        "issuer": settings.issuer,
        "audiences": [settings.audience],
        "local_jwks": {"filename": str(settings.jwks_file.resolve())},
        "require_expiration": True,
        "clock_skew_seconds": settings.clock_skew_seconds,
        "forward": True,
        # Named, because the default also takes a token from the query, where logs would keep it.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": _PAYLOAD,
        "jwt_cache_config": {"jwt_cache_size": 10_000},
    }
    needed: Json = {"provider_name": _PROVIDER}
    return {
        "providers": {_PROVIDER: provider},
        "requirement_map": {
            Access.USER.value: needed,
            Access.PUBLIC.value: {"requires_any": {"requirements": [needed, {"allow_missing": {}}]}},
        },
    }


def _rate_limit(settings: GatewaySettings) -> Json:
    """Count by the verified token's `sub`; by client address where none was verified, whatever headers were sent.

    Every request matches one of the two, so none falls into the bucket that all others would share.
    """
    user = {"metadata_key": {"key": JWT, "path": [{"key": _PAYLOAD}, {"key": "sub"}]}, "source": "DYNAMIC"}
    by_user = [{"metadata": {"descriptor_key": "user", **user}}]
    by_address = [{"metadata": {"descriptor_key": "verified", "default_value": _NOBODY, **user}}, {"remote_address": {}}]
    return {
        "stat_prefix": "apps",
        "token_bucket": _bucket(settings.address_limit),
        "always_consume_default_token_bucket": False,
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
        "rate_limited_as_resource_exhausted": True,
        "max_dynamic_descriptors": settings.max_limited_keys,
        "rate_limits": [{"actions": by_user}, {"actions": by_address}],
        "descriptors": [
            {"entries": [{"key": "user"}], "token_bucket": _bucket(settings.user_limit)},
            {
                "entries": [{"key": "verified", "value": _NOBODY}, {"key": "remote_address"}],
                "token_bucket": _bucket(settings.address_limit),
            },
        ],
    }


def _bucket(limit: RateLimit) -> Json:
    return {"max_tokens": limit.burst, "tokens_per_fill": limit.per_second, "fill_interval": seconds(1)}


def _guards(scripts: Mapping[str, str]) -> Json:
    return {"source_codes": {name: {"inline_string": code} for name, code in scripts.items()}}


def _transcoder(services: list[str], descriptor_file: Path, settings: GatewaySettings) -> Json:
    return {
        "proto_descriptor": str(descriptor_file.resolve()),
        "services": services,
        "convert_grpc_status": True,
        # The route was chosen, and the token checked, by the path that the client sent.
        "match_incoming_request_route": True,
        "query_param_unescape_plus": True,
        "case_insensitive_enum_parsing": True,
        "max_request_body_size": settings.max_request_bytes,
        "max_response_body_size": MAX_RESPONSE_BYTES,
        "print_options": {"always_print_primitive_fields": True, "preserve_proto_field_names": True},
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
        },
    }
