"""The contracts as descriptors: the committed set, and the one that Envoy gets."""

from collections.abc import Iterable, Iterator
from importlib.resources import files

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, duration_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2


def load() -> FileDescriptorSet:
    """Read the committed descriptor set, with imports and comments."""
    return FileDescriptorSet.FromString(files("feed").joinpath("descriptors.binpb").read_bytes())


def for_envoy(descriptors: FileDescriptorSet) -> FileDescriptorSet:
    """Add what error details are made of, which no contract imports. Leave out the comments, and what Envoy cannot do itself.

    Envoy refuses descriptors with a `response_body` that is not raw bytes; the gateway unwraps such answers after the transcoder.
    """
    merged = FileDescriptorSet()
    names: set[str] = set()
    for file in (*descriptors.file, *_error_files()):
        if file.name not in names:
            names.add(file.name)
            merged.file.add().CopyFrom(file)
            merged.file[-1].ClearField("source_code_info")
            _drop_response_bodies(merged.file[-1])
    return merged


def messages(descriptors: FileDescriptorSet) -> dict[str, DescriptorProto]:
    """Give every message, nested ones too, by its full name."""
    return {name: message for file in descriptors.file for name, message in _nested(file.package, file.message_type)}


def _drop_response_bodies(file: descriptor_pb2.FileDescriptorProto) -> None:
    for service in file.service:
        for method in service.method:
            if method.options.HasExtension(annotations_pb2.http):
                rule = method.options.Extensions[annotations_pb2.http]
                for binding in (rule, *rule.additional_bindings):
                    binding.ClearField("response_body")


def _nested(scope: str, found: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    for message in found:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _nested(name, message.nested_type)


def _error_files() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    for module in (duration_pb2, status_pb2, error_details_pb2):
        yield from _with_imports(module.DESCRIPTOR)


def _with_imports(file: FileDescriptor) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    for dependency in file.dependencies:
        yield from _with_imports(dependency)
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    yield copy
