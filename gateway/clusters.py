"""The services as Envoy sees them: one cluster each, watched by gRPC health checks, bounded, never waited for without end."""

import ipaddress

from gateway.replies import Json
from gateway.settings import GatewaySettings

REFLECTION = "grpc.reflection"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(names: list[str], settings: GatewaySettings) -> list[Json]:
    """Give a cluster for each service.

    Raises:
        ValueError: a service has no address.
    """
    if missing := [name for name in names if name not in settings.upstreams]:
        raise ValueError(f"no upstream address for {', '.join(missing)}")
    made = [_cluster(name, settings.upstreams[name], settings) for name in names]
    if settings.reflection_upstream:
        made.append(_cluster(REFLECTION, settings.reflection_upstream, settings))
    return made


def _cluster(name: str, address: str, settings: GatewaySettings) -> Json:
    host, _, port = address.rpartition(":")
    endpoint = {"address": {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}}
    return {
        "name": name,
        "type": "STATIC" if _is_ip(host.strip("[]")) else "STRICT_DNS",
        "connect_timeout": seconds(settings.connect_timeout),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {_HTTP: _http2()},
        "health_checks": [_health_check(settings)],
        "circuit_breakers": {"thresholds": [_bounds(settings)]},
        "outlier_detection": _outliers(),
    }


def _http2() -> Json:
    keepalive = {"interval": "30s", "timeout": "5s"}
    return {
        "@type": f"type.googleapis.com/{_HTTP}",
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive, "max_concurrent_streams": 1_000}},
    }


def _health_check(settings: GatewaySettings) -> Json:
    interval = seconds(settings.health_interval)
    return {
        "grpc_health_check": {},
        "timeout": interval,
        "interval": interval,
        # Envoy looks once a minute at a service that nobody called yet, unless told otherwise: a restart would go unnoticed.
        "no_traffic_interval": interval,
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }


def _bounds(settings: GatewaySettings) -> Json:
    most = settings.max_upstream_requests
    return {
        "max_connections": 1_024,
        "max_pending_requests": most,
        "max_requests": most,
        "max_retries": max(3, most // 10),
    }


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


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
