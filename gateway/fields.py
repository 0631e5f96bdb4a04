"""What a route's path, query and body are made of, by the rules of `google.api.http`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from gateway.routes import Route

Messages = Mapping[str, DescriptorProto]

# Messages that are one scalar in JSON; the rest of `google.protobuf` may hold anything.
SCALAR_MESSAGES = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})


@dataclass(frozen=True, slots=True)
class QueryField:
    """A query parameter: the dotted path of a field, and the field of a message."""

    message: str
    path: str
    json_path: str
    field: FieldDescriptorProto


def body_type(route: Route, messages: Messages) -> str | None:
    """Full name of the message that the body is; None when the route takes no body.

    Raises:
        ValueError: the body is not a message, or not in the request.
    """
    if not route.body:
        return None
    if route.body == "*":
        return route.rpc.input_type
    field = _field(messages[route.rpc.input_type], route.body)
    if not is_message(field) or is_repeated(field):
        raise ValueError(f"{route.rpc.full_name}: the body {route.body!r} is not a single message")
    return type_name(field)


def unwrapped(route: Route, messages: Messages) -> str:
    """Full name of the message that the answer is.

    Raises:
        ValueError: the response has more fields than `response_body`, which the gateway could then not leave out.
    """
    if not route.response_body:
        return route.rpc.output_type
    fields = messages[route.rpc.output_type].field
    if [field.name for field in fields] != [route.response_body] or not is_message(fields[0]):
        raise ValueError(
            f"{route.rpc.full_name}: response_body {route.response_body!r} must be the response's only field, a message"
        )
    return type_name(fields[0])


def query_fields(route: Route, messages: Messages) -> Iterator[QueryField]:
    """Give every query parameter: all leaves of the request that neither the path nor the body holds."""
    if route.body == "*":
        return
    taken = {route.body, *route.variables}
    for leaf in _leaves(QueryField(route.rpc.input_type, "", "", FieldDescriptorProto()), messages, ()):
        if leaf.path not in taken and leaf.path.partition(".")[0] != route.body:
            yield leaf


def variable_field(route: Route, variable: str, messages: Messages) -> tuple[str, FieldDescriptorProto]:
    """Find the field that a path variable sets, and the message that it is in."""
    message, *above = route.rpc.input_type, *variable.split(".")[:-1]
    for name in above:
        message = type_name(_field(messages[message], name))
    return message, _field(messages[message], variable.rpartition(".")[2])


def is_message(field: FieldDescriptorProto) -> bool:
    """Whether the field is an object in JSON."""
    return field.type == FieldDescriptorProto.TYPE_MESSAGE and type_name(field) not in SCALAR_MESSAGES


def is_repeated(field: FieldDescriptorProto) -> bool:
    """Whether the field is a list in JSON."""
    return field.label == FieldDescriptorProto.LABEL_REPEATED


def type_name(field: FieldDescriptorProto) -> str:
    """Full name of a field's message or enum."""
    return field.type_name.removeprefix(".")


def _leaves(at: QueryField, messages: Messages, above: tuple[str, ...]) -> Iterator[QueryField]:
    """Walk a message, down to its scalars; one that holds itself is not walked again."""
    for field in messages[at.message].field:
        path, json_path = f"{at.path}{field.name}", f"{at.json_path}{field.json_name}"
        if not is_message(field):
            yield QueryField(at.message, path, json_path, field)
        elif not is_repeated(field) and type_name(field) not in above:
            inside = QueryField(type_name(field), f"{path}.", f"{json_path}.", field)
            yield from _leaves(inside, messages, (*above, type_name(field)))


def _field(message: DescriptorProto, name: str) -> FieldDescriptorProto:
    for field in message.field:
        if field.name == name:
            return field
    raise ValueError(f"{message.name} has no field {name!r}")
