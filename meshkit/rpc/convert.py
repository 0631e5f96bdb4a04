"""What servicers translate alike: times, request ids, field masks."""

from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meshkit.errors import invalid_field
from meshkit.requests import RequestId


def timestamp(time_ms: int) -> Timestamp:
    """Give a Unix time in milliseconds as a Timestamp."""
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def request_id(caller: str, request: Message, value: str) -> RequestId | None:
    """Give a request's id with what tells its body from others; None when it has none."""
    body = request.DESCRIPTOR.full_name.encode() + b"\0" + request.SerializeToString(deterministic=True)
    return RequestId(caller, value, body) if value else None


def masked_fields(mask: FieldMask, resource: Message, editable: Sequence[str]) -> set[str]:
    """Tell which fields an update takes (AIP-134): `*` is all; without a mask, those of the resource that are set.

    Raises:
        InvalidArgumentError: the mask names what cannot be edited, or nothing would change.

    """
    if not mask.paths:
        wanted = {field.name for field, _ in resource.ListFields()} & set(editable)
    elif list(mask.paths) == ["*"]:
        wanted = set(editable)
    else:
        wanted = set(mask.paths)
    if not wanted or not wanted <= set(editable):
        raise invalid_field("update_mask", f"must name some of: {', '.join(editable)}")
    return wanted
