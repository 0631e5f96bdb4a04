"""JSON schemas of the contracts' messages, with the limits that their field rules set."""

from collections.abc import Collection

from feed.rules.v1 import rules_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet

from gateway import descriptors as contracts
from gateway.comments import comments
from gateway.fields import is_message, is_repeated, type_name
from gateway.replies import Json

_F = FieldDescriptorProto
_INT64: Json = {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}
_UINT64: Json = {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"}
_INT32: Json = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32: Json = {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}
_SCALARS: dict[int, Json] = {
    _F.TYPE_INT64: _INT64,
    _F.TYPE_SINT64: _INT64,
    _F.TYPE_SFIXED64: _INT64,
    _F.TYPE_UINT64: _UINT64,
    _F.TYPE_FIXED64: _UINT64,
    _F.TYPE_INT32: _INT32,
    _F.TYPE_SINT32: _INT32,
    _F.TYPE_SFIXED32: _INT32,
    _F.TYPE_UINT32: _UINT32,
    _F.TYPE_FIXED32: _UINT32,
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, with commas between them."},
}


class Schemas:
    """Gives schemas and remembers which messages and enums they refer to."""

    def __init__(self, descriptors: FileDescriptorSet) -> None:
        self.messages = contracts.messages(descriptors)
        self.comments = comments(descriptors)
        self._enums = {f"{file.package}.{enum.name}": enum for file in descriptors.file for enum in file.enum_type}
        self._wanted: list[str] = []

    def field(self, message: str, field: FieldDescriptorProto) -> Json:
        """Give the schema of a field, its comment and limits included."""
        rules = field.options.Extensions[rules_pb2.field]
        described = self._described(f"{message}.{field.name}")
        if values := self._map_values(field):
            return {"type": "object", "additionalProperties": values, **described}
        element = {**self._element(field), **_limits(rules)}
        if not is_repeated(field):
            return {**element, **described}
        most = {"maxItems": rules.max_items} if rules.max_items else {}
        return {"type": "array", "items": element, **most, **described}

    def message(self, name: str) -> Json:
        """Refer to a message or an enum, which then is among the components."""
        if name not in self._wanted:
            self._wanted.append(name)
        return {"$ref": f"#/components/schemas/{name}"}

    def body(self, name: str, bound: Collection[str]) -> Json:
        """Give what a request holds of a message: an object of its own where the path binds some of the fields."""
        if not bound:
            return self.message(name)
        return {**self._object(name, self.messages[name], bound), **self._described(name)}

    def needed(self, name: str, bound: Collection[str] = ()) -> list[str]:
        """Name the fields of a message that a request must have, without those that the path binds."""
        return [field.name for field in self.messages[name].field if is_required(field) and field.name not in bound]

    def components(self) -> dict[str, Json]:
        """Give all messages and enums that were referred to, and those that these refer to."""
        made: dict[str, Json] = {}
        while missing := [name for name in self._wanted if name not in made]:
            made |= {name: self._component(name) for name in missing}
        return dict(sorted(made.items()))

    def _component(self, name: str) -> Json:
        described = self._described(name)
        if enum := self._enums.get(name):
            return {**self._enum(name, enum), **described}
        return {**self._object(name, self.messages[name]), **described}

    def _object(self, name: str, message: DescriptorProto, bound: Collection[str] = ()) -> Json:
        needed = self.needed(name, bound)
        properties = {field.name: self.field(name, field) for field in message.field if field.name not in bound}
        return {"type": "object", "properties": properties, **({"required": needed} if needed else {})}

    def _enum(self, name: str, enum: EnumDescriptorProto) -> Json:
        values = [value.name for value in enum.value]
        meanings = {value: self.comments.get(f"{name}.{value}", "") for value in values}
        return {"type": "string", "enum": values, "x-enum-descriptions": meanings}

    def _element(self, field: FieldDescriptorProto) -> Json:
        if field.type == _F.TYPE_ENUM or is_message(field):
            return self.message(type_name(field))
        return _WELL_KNOWN[type_name(field)] if field.type == _F.TYPE_MESSAGE else _SCALARS[field.type]

    def _map_values(self, field: FieldDescriptorProto) -> Json | None:
        """Give the schema of a map's values; a map is a list of entries only on the wire."""
        entry = self.messages.get(type_name(field))
        return self._element(entry.field[1]) if entry and entry.options.map_entry else None

    def _described(self, name: str) -> Json:
        return {"description": self.comments[name]} if name in self.comments else {}


def is_required(field: FieldDescriptorProto) -> bool:
    """Whether a message without the field is refused."""
    return field.options.Extensions[rules_pb2.field].required


def _limits(rules: rules_pb2.FieldRules) -> Json:
    """Give the limits of a string. An empty one is only refused where the field is required."""
    limits: Json = {}
    if rules.required and (rules.min_length or rules.not_blank or rules.pattern):
        limits["minLength"] = max(1, rules.min_length)
    if rules.max_length:
        limits["maxLength"] = rules.max_length
    if rules.pattern:
        limits["pattern"] = f"^(?:{rules.pattern}){'' if rules.required else '?'}$"
    elif rules.not_blank:
        limits["pattern"] = "\\S" if rules.required else "\\S|^$"
    return limits


def error_schema() -> Json:
    """Give the schema of every refusal, a service's or the gateway's own."""
    detail: Json = {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]}
    return {
        "type": "object",
        "description": "What went wrong, as google.rpc.Status.",
        "properties": {
            "code": {"type": "integer", "description": "gRPC status code.", "minimum": 1, "maximum": 16},
            "message": {"type": "string", "description": "For people: what is wrong, and what to mend."},
            "details": {
                "type": "array",
                "description": "For programs: google.rpc.ErrorInfo with a stable reason, google.rpc.BadRequest with the fields.",
                "items": detail,
            },
        },
        "required": ["code", "message", "details"],
    }
