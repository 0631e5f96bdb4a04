"""The OpenAPI 3.1 document of the REST routes, made from the contracts."""

import re
from importlib import metadata

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway.fields import QueryField, body_type, query_fields, unwrapped, variable_field
from gateway.replies import Json
from gateway.routes import Access, Route, routes
from gateway.schemas import Schemas, error_schema, is_required

_BEARER = "bearer"
_ERROR = "Error"
_VARIABLE = re.compile(r"\{([^{}=]+)[^{}]*\}")


def document(descriptors: FileDescriptorSet) -> Json:
    """Make the document. The same contracts always make the same one."""
    schemas = Schemas(descriptors)
    paths: dict[str, dict[str, Json]] = {}
    for route in routes(descriptors):
        paths.setdefault(_path(route), {})[route.verb.lower()] = _operation(route, schemas)
    services = dict.fromkeys(route.rpc.service for route in routes(descriptors))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feedmesh",
            "version": metadata.version("feedmesh"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": _short(name), "description": schemas.comments.get(name, "")} for name in services],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components(), _ERROR: error_schema()},
            "responses": {_ERROR: {"description": "Refused or failed.", "content": _json(_reference(_ERROR))}},
            "securitySchemes": {_BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _path(route: Route) -> str:
    """Name variables by their fields alone, so that `{post_id}` and `{post.post_id}` are one path, as OpenAPI demands."""
    return _VARIABLE.sub(lambda match: f"{{{_leaf(match[1])}}}", route.template)


def _leaf(variable: str) -> str:
    return variable.rpartition(".")[2]


def _operation(route: Route, schemas: Schemas) -> Json:
    needed: list[Json] = [{_BEARER: []}]
    answer = schemas.message(unwrapped(route, schemas.messages))
    operation: Json = {
        "operationId": _operation_id(route),
        "tags": [_short(route.rpc.service)],
        "summary": route.rpc.name,
        "description": schemas.comments.get(route.rpc.full_name, ""),
        "security": needed if route.rpc.access is Access.USER else [{}, *needed],
        "parameters": [*_path_parameters(route, schemas), *_query_parameters(route, schemas)],
        "responses": {"200": {"description": "Done.", "content": _json(answer)}, "default": _reference(_ERROR, "responses")},
    }
    if body := body_type(route, schemas.messages):
        operation["requestBody"] = _request_body(route, body, schemas)
    if route.alias:
        operation["x-alias-of"] = _id(route)
    return operation


def _path_parameters(route: Route, schemas: Schemas) -> list[Json]:
    made: list[Json] = []
    for variable in route.variables:
        message, field = variable_field(route, variable, schemas.messages)
        made.append({"name": _leaf(variable), "in": "path", "required": True, "schema": schemas.field(message, field)})
    return made


def _query_parameters(route: Route, schemas: Schemas) -> list[Json]:
    return [
        {"name": leaf.path, "in": "query", "required": _must_be_given(leaf), "schema": schemas.field(leaf.message, leaf.field)}
        for leaf in query_fields(route, schemas.messages)
    ]


def _must_be_given(leaf: QueryField) -> bool:
    """Whether a call without the parameter is refused. One inside a message may be left out together with it."""
    return is_required(leaf.field) and "." not in leaf.path


def _request_body(route: Route, body: str, schemas: Schemas) -> Json:
    """Describe a body without the fields that the path gives; it may be left out when nothing that is left is required."""
    found = (variable_field(route, variable, schemas.messages) for variable in route.variables)
    bound = {field.name for message, field in found if message == body}
    return {"required": bool(schemas.needed(body, bound)), "content": _json(schemas.body(body, bound))}


def _id(route: Route) -> str:
    return f"{_short(route.rpc.service)}_{route.rpc.name}"


def _operation_id(route: Route) -> str:
    if not route.alias:
        return _id(route)
    words = "".join(character if character.isalnum() else "_" for character in route.template)
    return f"{_id(route)}_{route.verb.lower()}{words}"


def _short(service: str) -> str:
    return service.rpartition(".")[2]


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _reference(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
