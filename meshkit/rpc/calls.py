"""How the methods of another service are called: deadlines, waiting and retries, said once for each peer.

Who tries again is said once for each kind of call, or a fault would multiply with every layer:

* A message's handler is given its message again by the queue, without end and with growing pauses. Its calls are *patient*: they
  wait for a peer that is away, up to their deadline, and are not retried.
* Where a user waits, no queue does that. Such a call fails as soon as no backend can be reached; if a backend drops it,
  others are asked, twice, within a tenth of a second, and only if the contract says that a repeat does no harm. The budget
  stops that while more than one call in ten fails for longer than a moment.
* Apps' own calls are the gateway's to send again, to another process of the service that they are for, by the same mark in the
  contract (`gateway/retries.py`).

What a service answers is final, also that something it needs is away: whoever needed it has tried what there was to try. Such an
answer says so itself (`meshkit/rpc/edge.py`), since it has the status of a call that was dropped, and nobody sends its call again.

What never left this process, or was refused unseen by a server that is closing, gRPC sends again by itself, for any method.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from feed.rules.v1 import rules_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

_RETRIES = {
    "maxAttempts": 3,
    "initialBackoff": "0.02s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# A failure costs a token, a success brings a tenth of one, and below half there are no retries. A backend that dies with two
# hundred calls under way does not use it up.
_BUDGET = {"maxTokens": 400, "tokenRatio": 0.1}


@dataclass(frozen=True, slots=True)
class Call:
    """How a method is called. `seconds` is the deadline, for all tries together; `patient` is for what a queue tries again."""

    method: MethodDescriptor
    seconds: float
    patient: bool = False


def is_idempotent(options: MethodOptions) -> bool:
    """Tell from the contract whether a method may be called again when it is not known if the first call was done."""
    return bool(options.Extensions[rules_pb2.idempotent]) or options.Extensions[annotations_pb2.http].HasField("get")


def deadlines(calls: Iterable[Call]) -> dict[str, float]:
    """Give the seconds of each call by the full name of its request, which no other method has."""
    return {call.method.input_type.full_name: call.seconds for call in calls}


def service_config(calls: Iterable[Call]) -> str:
    """Write gRPC's own configuration of a peer. It also has the health of every backend checked.

    The deadlines are not in it: gRPC keeps those of a service config only to about a second (grpc/grpc issue 34547).
    """
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": ""},
            "retryThrottling": _BUDGET,
            "methodConfig": [_method_config(call) for call in calls],
        }
    )


def _method_config(call: Call) -> dict[str, object]:
    config: dict[str, object] = {
        "name": [{"service": call.method.containing_service.full_name, "method": call.method.name}],
        "waitForReady": call.patient,
    }
    if is_idempotent(call.method.GetOptions()) and not call.patient:
        config["retryPolicy"] = _RETRIES
    return config
