"""The script of a REST route: `rest.lua`, which checks requests against the contract, with the route's shape written above it.

`unwrap.lua` follows where the answer is one field only.
"""

import re
from collections.abc import Mapping
from importlib.resources import files

from google.protobuf.descriptor_pb2 import DescriptorProto

from gateway.fields import Messages, body_type, is_message, is_repeated, query_fields, type_name, unwrapped
from gateway.routes import Route

Lua = str | bool | None | Mapping[str, "Lua"] | list["Lua"]

_VARIABLE = re.compile(r"\{[^{}]*\}")


def script_name(route: Route) -> str:
    """Name a route's script: no two routes share one."""
    return f"{route.verb} {route.template}"


def script(route: Route, messages: Messages) -> str:
    """Write a route's script.

    Raises:
        ValueError: the annotation asks for what the gateway cannot do.
    """
    unwrapped(route, messages)
    root = body_type(route, messages)
    shape: dict[str, Lua] = {
        "MESSAGES": _shapes(root, messages),
        "ROOT": root,
        "QUERY": _query(route, messages),
        "PATH": _path_pattern(route.template),
        "VARIABLES": [_inside_body(route, variable) for variable in route.variables],
    }
    parts = ["rest.lua"]
    if route.response_body:
        shape["UNWRAP"] = route.response_body
        parts.append("unwrap.lua")
    lines = [f"local {name} = {_lua(value)}" for name, value in shape.items()]
    return "\n".join([*lines, *(files("gateway").joinpath(part).read_text() for part in parts)])


def _query(route: Route, messages: Messages) -> Lua:
    known: dict[str, Lua] = {}
    for leaf in query_fields(route, messages):
        shape: Lua = {"name": leaf.path, "list": is_repeated(leaf.field) or None}
        known |= {leaf.path: shape, leaf.json_path: shape}
    return known


def _inside_body(route: Route, variable: str) -> str:
    if route.body in ("", "*"):
        return variable
    return variable.removeprefix(f"{route.body}.")


def _shapes(root: str | None, messages: Messages) -> Lua:
    """Describe the body's message and every one inside it."""
    shapes: dict[str, Lua] = {}
    waiting = [root] if root else []
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = _shape(messages[name], messages)
            waiting += [
                type_name(field) for field in messages[name].field if is_message(field) and not _opaque(type_name(field), messages)
            ]
    return shapes


def _shape(message: DescriptorProto, messages: Messages) -> Lua:
    known: dict[str, Lua] = {}
    for field in message.field:
        opaque = is_message(field) and _opaque(type_name(field), messages)
        shape: Lua = {
            "name": field.name,
            "list": is_repeated(field) or None,
            "message": type_name(field) if is_message(field) and not opaque else None,
            "any": opaque or None,
        }
        known |= {field.name: shape, field.json_name: shape}
    return known


def _opaque(message: str, messages: Messages) -> bool:
    """Whether a message's JSON does not follow from its fields: maps, and google.protobuf's own."""
    return message.startswith("google.protobuf.") or messages[message].options.map_entry


def _path_pattern(template: str) -> str:
    literals = [re.sub(r"([^A-Za-z0-9/_])", r"%\1", part) for part in _VARIABLE.split(template)]
    return f"^{'([^/]+)'.join(literals)}$"


def _lua(value: Lua) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return '"' + re.sub(r'(["\\\n])', r"\\\1", value) + '"'
        case list():
            return "{" + ", ".join(map(_lua, value)) + "}"
        case _:
            pairs = (f"[{_lua(key)}] = {_lua(item)}" for key, item in value.items() if item is not None)
            return "{" + ", ".join(pairs) + "}"
