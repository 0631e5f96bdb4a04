"""The routes of the app beside the gateway: media that is uploaded and read by signed URLs, streamed and never kept here."""

from gateway.clusters import EDGE, seconds
from gateway.replies import Json, header
from gateway.settings import GatewaySettings

MEDIA_VERBS = ("GET", "HEAD", "OPTIONS", "PUT")
_PREFIX = "/media/"


def media_routes(settings: GatewaySettings, disabled: dict[str, Json]) -> list[Json]:
    """Give the routes, none without the app. `disabled` switches off the filters that are for calls of services.

    Nothing is sent a second time: that would mean to keep what was sent.
    """
    if not settings.edge_upstream:
        return []
    verbs = {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(MEDIA_VERBS)}}}
    forward: Json = {
        "match": {"prefix": _PREFIX, "headers": [verbs]},
        # Only what stands still is ended here; how long an upload may take in all is the listener's to bound.
        "route": {"cluster": EDGE, "timeout": "0s", "idle_timeout": seconds(settings.upload_idle_timeout)},
        "typed_per_filter_config": disabled,
    }
    refuse: Json = {
        "match": {"prefix": _PREFIX},
        "direct_response": {"status": 405},
        "response_headers_to_add": [header("allow", ", ".join(MEDIA_VERBS))],
        "typed_per_filter_config": disabled,
    }
    return [forward, refuse]
