"""The services as Envoy sees them: one cluster each, watched by gRPC health checks, bounded, never waited for without end."""

from pathlib import Path

from gateway.replies import Json
from gateway.settings import GatewaySettings
from meshkit.rpc.addresses import places
from meshkit.rpc.tls import Tls

REFLECTION = "grpc.reflection"
EDGE = "edge"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TYPE = "type.googleapis.com/"


def clusters(names: list[str], settings: GatewaySettings) -> list[Json]:
    """Give a cluster for each service, and for what else the settings name.

    Raises:
        ValueError: a service has no address.
        OSError: the files for TLS cannot be used.
    """
    if missing := [name for name in names if name not in settings.upstreams]:
        raise ValueError(f"no upstream address for {', '.join(missing)}")
    made = [_service(name, settings.upstreams[name], settings) for name in names]
    if settings.reflection_upstream:
        made.append(_service(REFLECTION, settings.reflection_upstream, settings))
    if settings.edge_upstream:
        made.append(_edge(settings.edge_upstream, settings))
    return made


def _service(name: str, address: str, settings: GatewaySettings) -> Json:
    made = {
        **_cluster(name, address, settings),
        "typed_extension_protocol_options": {_HTTP: _http2()},
        "health_checks": [_health_check(settings)],
    }
    if tls := settings.tls():
        tls.check()
        made["transport_socket"] = _transport(tls)
    return made


def _edge(address: str, settings: GatewaySettings) -> Json:
    # Shorter than the app keeps a quiet connection, so that no upload goes into one that is just being closed.
    http1 = {
        "@type": f"{_TYPE}{_HTTP}",
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": "15s"},
    }
    return {**_cluster(EDGE, address, settings), "typed_extension_protocol_options": {_HTTP: http1}}


def _cluster(name: str, address: str, settings: GatewaySettings) -> Json:
    found = places(address)
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": place.host, "port_value": place.port}}}} for place in found
    ]
    return {
        "name": name,
        # What a name stands for is looked up every few seconds, and called as one process each.
        "type": "STATIC" if found[0].version else "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        # While nobody is healthy all are tried: what a health check says may be late. Otherwise only the healthy are. Each change
        # counts at once; by default one that follows another within a second would wait for that second to end.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}, "update_merge_window": seconds(0)},
        "connect_timeout": seconds(settings.connect_timeout),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [_bounds(settings)]},
        "outlier_detection": _outliers(),
    }


def _transport(tls: Tls) -> Json:
    """Show the gateway's certificate, and believe none but the mesh's own authority and name."""
    name = {"san_type": "DNS", "matcher": {"exact": tls.name}}
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [{"certificate_chain": _file(tls.certificate), "private_key": _file(tls.key)}],
        "validation_context": {"trusted_ca": _file(tls.authority), "match_typed_subject_alt_names": [name]},
        "alpn_protocols": ["h2"],
    }
    kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{_TYPE}{kind}", "sni": tls.name, "common_tls_context": common},
    }


def _file(path: Path) -> Json:
    return {"filename": str(path.resolve())}


def _http2() -> Json:
    keepalive = {"interval": "30s", "timeout": "5s"}
    return {
        "@type": f"{_TYPE}{_HTTP}",
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive, "max_concurrent_streams": 1_000}},
    }


def _health_check(settings: GatewaySettings) -> Json:
    interval = seconds(settings.health_interval)
    return {
        "grpc_health_check": {},
        # A busy process answers late; a dead one's connection ends at once, and only a frozen one is found out by this.
        "timeout": "2s",
        "interval": interval,
        # Envoy looks once a minute at a service that nobody called yet, unless told otherwise: a restart would go unnoticed.
        "no_traffic_interval": interval,
        # For checks without an answer. One that is answered with NOT_SERVING counts at once.
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }


def _bounds(settings: GatewaySettings) -> Json:
    most = settings.max_upstream_requests
    # One of two processes that dies takes half of the requests with it; more retries than that would only feed an overload.
    budget = {"budget_percent": {"value": 50}, "min_retry_concurrency": 20}
    return {"max_connections": 1_024, "max_pending_requests": most, "max_requests": most, "retry_budget": budget}


def _outliers() -> Json:
    # Only connection failures count: an error that a service answers with is an answer.
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 50,
    }


def seconds(value: float) -> str:
    """Write a duration as Envoy wants it."""
    return f"{value:.3f}s"
