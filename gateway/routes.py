"""What apps may call, read from the contracts: the REST routes, and the methods behind them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from feed.rules.v1 import rules_pb2
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto

from meshkit.rpc.calls import is_idempotent

_VERBS = ("get", "put", "post", "delete", "patch")
_WILDCARD = re.compile(r"\*\*|\*")
_VARIABLE = re.compile(r"\{([^={}]+)(?:=([^{}]+))?\}")


class Access(Enum):
    """Who may call a method from outside the mesh."""

    USER = "user"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC that apps may call. One that is `idempotent` may be called again when it is not known if the first call was done."""

    service: str
    name: str
    access: Access
    input_type: str
    output_type: str
    streaming: bool
    idempotent: bool

    @property
    def full_name(self) -> str:
        """Full name, as `feed.post.v1.PostService.GetPost`."""
        return f"{self.service}.{self.name}"

    @property
    def grpc_path(self) -> str:
        """Path of a gRPC request."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True, slots=True)
class Route:
    """A REST route: an HTTP method and a path template that stand for an RPC. `alias` marks an additional binding."""

    verb: str
    template: str
    rpc: Method
    body: str
    response_body: str
    alias: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """Field paths that the path gives, in its order."""
        return tuple(match[1] for match in _VARIABLE.finditer(self.template))

    @property
    def pattern(self) -> str:
        """RE2 expression that a whole path must match. A path that has no variable is its own text, escaped."""
        plain = _VARIABLE.sub(lambda match: match[2] or "*", self.template)
        literals = [re.escape(part) for part in _WILDCARD.split(plain)]
        wildcards = [".+" if found == "**" else "[^/]+" for found in _WILDCARD.findall(plain)]
        return "".join(part for pair in zip(literals, [*wildcards, ""], strict=True) for part in pair)


def methods(descriptors: FileDescriptorSet) -> Iterator[Method]:
    """Give every RPC that apps may call.

    Raises:
        ValueError: an RPC has a REST route, and no access rule that lets apps call it.
    """
    for service, method in _rpcs(descriptors):
        if access := _access(method):
            yield Method(
                service=service,
                name=method.name,
                access=access,
                input_type=method.input_type.removeprefix("."),
                output_type=method.output_type.removeprefix("."),
                streaming=method.server_streaming,
                idempotent=is_idempotent(method.options),
            )
        elif method.options.HasExtension(annotations_pb2.http):
            raise ValueError(f"{service}.{method.name} has a REST route but no access rule for apps")


def routes(descriptors: FileDescriptorSet) -> Iterator[Route]:
    """Give every REST route, in the contracts' order.

    Raises:
        ValueError: as `methods`.
    """
    rules = {f"{service}.{method.name}": method.options.Extensions[annotations_pb2.http] for service, method in _rpcs(descriptors)}
    for rpc in methods(descriptors):
        rule = rules[rpc.full_name]
        for alias, binding in enumerate((rule, *rule.additional_bindings)):
            yield from _route(rpc, binding, alias=bool(alias))


def _rpcs(descriptors: FileDescriptorSet) -> Iterator[tuple[str, MethodDescriptorProto]]:
    for file in descriptors.file:
        for service in file.service:
            for method in service.method:
                yield f"{file.package}.{service.name}", method


def _access(method: MethodDescriptorProto) -> Access | None:
    known = {rules_pb2.ACCESS_USER: Access.USER, rules_pb2.ACCESS_PUBLIC: Access.PUBLIC}
    return known.get(method.options.Extensions[rules_pb2.access])


def _route(rpc: Method, rule: HttpRule, *, alias: bool) -> Iterator[Route]:
    for verb in _VERBS:
        if template := getattr(rule, verb):
            yield Route(verb.upper(), template, rpc, rule.body, rule.response_body, alias)
