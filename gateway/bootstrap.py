"""Envoy's configuration as a plain value, made from the contracts and the settings."""

from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway import routes
from gateway.clusters import clusters, seconds
from gateway.descriptors import messages as descriptors_by_name
from gateway.filters import http_filters
from gateway.guard import script, script_name
from gateway.replies import Json, local_reply_config
from gateway.settings import MAX_RESPONSE_BYTES, GatewaySettings
from gateway.virtual_host import route_config

_TYPE = "type.googleapis.com/"
_NETWORK = "envoy.filters.network.http_connection_manager"
# Nobody outside may speak for a service, steer Envoy, or disguise a method.
_STRIPPED_PREFIXES = ("x-feedmesh-", "x-envoy-")
_STRIPPED = ("x-http-method-override", "x-http-method", "x-method-override", "x-forwarded-for", "x-forwarded-host")


def bootstrap(descriptors: FileDescriptorSet, descriptor_file: Path, openapi: str, settings: GatewaySettings) -> Json:
    """Make the bootstrap. `descriptor_file` is where `descriptors.for_envoy` is written; `openapi` is the document to serve.

    Raises:
        ValueError: a service with app routes has no upstream, or a contract opens a route to nobody.
    """
    methods = list(routes.methods(descriptors))
    known = list(routes.routes(descriptors))
    messages = descriptors_by_name(descriptors)
    services = sorted({method.service for method in methods})
    listener = _listener(
        http_filters(services, {script_name(route): script(route, messages) for route in known}, descriptor_file, settings),
        route_config(known, methods, openapi, settings),
        settings,
    )
    return {
        **_admin(settings),
        "node": {"id": "feedmesh-gateway", "cluster": "feedmesh-gateway"},
        "static_resources": {"listeners": [listener], "clusters": clusters(services, settings)},
        "overload_manager": _overload(settings),
    }


def _listener(filters: list[Json], route_table: Json, settings: GatewaySettings) -> Json:
    manager = _connection_manager(filters, route_table, settings)
    return {
        "name": "apps",
        "address": {"socket_address": {"address": settings.host, "port_value": settings.port}},
        # With port reuse a second gateway would share the port silently instead of failing to start.
        "enable_reuse_port": False,
        # An answer is translated whole, so it must fit; requests have a limit of their own.
        "per_connection_buffer_limit_bytes": MAX_RESPONSE_BYTES,
        "filter_chains": [{"filters": [{"name": _NETWORK, "typed_config": manager}]}],
    }


def _connection_manager(filters: list[Json], route_table: Json, settings: GatewaySettings) -> Json:
    return {
        "@type": f"{_TYPE}envoy.extensions.{_NETWORK.removeprefix('envoy.')}.v3.HttpConnectionManager",
        "stat_prefix": "apps",
        "codec_type": "AUTO",
        "server_name": "feedmesh",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "idle_timeout": seconds(settings.idle_timeout),
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "http2_protocol_options": {"max_concurrent_streams": 128},
        "request_headers_timeout": seconds(settings.receive_timeout),
        "request_timeout": seconds(_longest_request(settings)),
        "stream_idle_timeout": seconds(settings.idle_timeout),
        "early_header_mutation_extensions": [_strip()],
        "local_reply_config": local_reply_config(settings.max_request_bytes),
        "http_filters": filters,
        "route_config": route_table,
    }


def _longest_request(settings: GatewaySettings) -> float:
    """Tell how long a request may take to arrive. It is one bound for all routes, but calls of services have one of their own."""
    return settings.upload_timeout if settings.edge_upstream else settings.receive_timeout


def _strip() -> Json:
    by_prefix = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in _STRIPPED_PREFIXES]
    return {
        "name": "strip",
        "typed_config": {
            "@type": f"{_TYPE}envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [*by_prefix, *({"remove": name} for name in _STRIPPED)],
        },
    }


def _admin(settings: GatewaySettings) -> Json:
    match settings.admin:
        case None:
            return {}
        case int(port):
            return {"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        case path:
            return {"admin": {"address": {"pipe": {"path": str(path.resolve()), "mode": 0o600}}}}


def _overload(settings: GatewaySettings) -> Json:
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": f"{_TYPE}{kind}", "max_active_downstream_connections": settings.max_connections}
    return {"resource_monitors": [{"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}]}
