"""The contracts' comments."""

from collections.abc import Iterator, Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

# Field numbers inside google.protobuf's descriptors, by which a comment says what it belongs to.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _METHODS, _VALUES = 2, 3, 2, 2


def comments(descriptors: FileDescriptorSet) -> dict[str, str]:
    """Give the leading comment of every element by its full name; paragraphs are kept, line breaks inside them are not."""
    found: dict[str, str] = {}
    for file in descriptors.file:
        texts = {tuple(at.path): _paragraphs(at.leading_comments) for at in file.source_code_info.location}
        found |= {name: texts[path] for name, path in _elements(file) if texts.get(path)}
    return found


def _elements(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _messages(file.package, file.message_type, (_MESSAGES,))
    for number, service in enumerate(file.service):
        yield f"{file.package}.{service.name}", (_SERVICES, number)
        for index, method in enumerate(service.method):
            yield f"{file.package}.{service.name}.{method.name}", (_SERVICES, number, _METHODS, index)
    for number, enum in enumerate(file.enum_type):
        yield f"{file.package}.{enum.name}", (_ENUMS, number)
        for index, value in enumerate(enum.value):
            yield f"{file.package}.{enum.name}.{value.name}", (_ENUMS, number, _VALUES, index)


def _messages(scope: str, found: Sequence[DescriptorProto], at: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number, message in enumerate(found):
        name, path = f"{scope}.{message.name}", (*at, number)
        yield name, path
        for index, field in enumerate(message.field):
            yield f"{name}.{field.name}", (*path, _FIELDS, index)
        yield from _messages(name, message.nested_type, (*path, _NESTED))


def _paragraphs(comment: str) -> str:
    parts = (" ".join(part.split()) for part in comment.replace("\n \n", "\n\n").split("\n\n"))
    return "\n\n".join(part for part in parts if part)
