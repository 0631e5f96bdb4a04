"""When the gateway sends a call again: to another process of the service, if there is one, and only if that does no harm."""

from gateway.clusters import seconds
from gateway.replies import Json
from gateway.routes import Method
from gateway.settings import GatewaySettings

# Failures before a service saw anything of the call, so that a repeat is safe for every method.
_UNSEEN = "connect-failure,refused-stream,reset-before-request"
# Failures that leave open whether the call was done. A POST that ends so is answered 503, and it is for the app to ask again, with
# the same `request_id`; only the app knows whether it has one to send. What a service answers is none of these, UNAVAILABLE
# neither: tried again it would only be more work for what is away or slow behind that service.
_UNCERTAIN = "reset"
# How often to draw another process when the draw falls on one that was tried. Of two the dead one has the fewest calls under way,
# so it wins three draws of four: by the default of two draws every second retry would meet it again, by 31 one of ten thousand.
_DRAWS = 30
# Leaves room for a second try within the request's own time, should a process be frozen.
_SHARE_OF_A_TRY = 0.45


def retry_policy(method: Method, settings: GatewaySettings) -> Json:
    """Say when to call a method again. `clusters` has the budget for all calls of a service together."""
    policy: Json = {
        "retry_on": f"{_UNSEEN},{_UNCERTAIN}" if method.idempotent else _UNSEEN,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
        "retry_host_predicate": [_not_the_same()],
        "host_selection_retry_max_attempts": _DRAWS,
    }
    if method.idempotent and not method.streaming:
        policy["per_try_timeout"] = seconds(settings.request_timeout * _SHARE_OF_A_TRY)
    return policy


def _not_the_same() -> Json:
    kind = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": f"type.googleapis.com/{kind}"}}
