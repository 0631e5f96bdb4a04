"""Checks requests against the `(feed.rules.v1.field)` options of their fields."""

import re
from collections.abc import Callable, Iterator
from functools import cache

from feed.rules.v1 import rules_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from meshkit.errors import InvalidArgumentError

Problems = dict[str, str]
_Checker = Callable[[Message, str, Problems], None]


def validate(message: Message) -> None:
    """Check a message and what it contains.

    Raises:
        InvalidArgumentError: with every field that breaks a rule.

    """
    problems: Problems = {}
    _check(message, "", problems)
    if problems:
        text = "; ".join(f"{field} {problem}" for field, problem in problems.items())
        raise InvalidArgumentError(text, reason="INVALID_FIELD", fields=problems)


def _check(message: Message, prefix: str, problems: Problems) -> None:
    for checker in _checkers(message.DESCRIPTOR):
        checker(message, prefix, problems)


@cache
def _checkers(descriptor: Descriptor) -> tuple[_Checker, ...]:
    """Make a message type's checks once: most fields have none, and cost nothing."""
    return tuple(checker for field in descriptor.fields for checker in _field_checkers(field))


def _field_checkers(field: FieldDescriptor) -> Iterator[_Checker]:
    options = field.GetOptions()
    if options.HasExtension(rules_pb2.field):
        yield _rules_checker(field, options.Extensions[rules_pb2.field])
    ours = field.message_type is not None and field.message_type.full_name.startswith("feed.")
    if ours and not field.is_repeated:
        yield _nested_checker(field.name)


def _nested_checker(name: str) -> _Checker:
    def check(message: Message, prefix: str, problems: Problems) -> None:
        if message.HasField(name):
            _check(getattr(message, name), f"{prefix}{name}.", problems)

    return check


def _rules_checker(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> _Checker:
    name, required = field.name, rules.required
    pattern = re.compile(rules.pattern) if rules.pattern else None
    is_message = field.message_type is not None and not field.is_repeated
    problem_of = _items_problem if field.is_repeated else _value_problem

    def check(message: Message, prefix: str, problems: Problems) -> None:
        if is_message:
            problem = "is required" if required and not message.HasField(name) else ""
        else:
            value = getattr(message, name)
            problem = problem_of(value, rules, pattern) if value or required else ""
        if problem:
            problems[prefix + name] = problem

    return check


def _items_problem(values: list[object], rules: rules_pb2.FieldRules, pattern: re.Pattern[str] | None) -> str:
    if rules.required and not values:
        return "is required"
    if rules.max_items and len(values) > rules.max_items:
        return f"has {len(values):,} elements: at most {rules.max_items:,} are allowed"
    if pattern or rules.max_length:
        for index, value in enumerate(values):
            if problem := _value_problem(value, rules, pattern) or ("" if value else "is empty"):
                return f"element {index} {problem}"
    return ""


def _value_problem(value: object, rules: rules_pb2.FieldRules, pattern: re.Pattern[str] | None) -> str:
    if not value:
        return "is required" if rules.required else ""
    return _text_problem(value, rules, pattern) if isinstance(value, str) else ""


def _text_problem(text: str, rules: rules_pb2.FieldRules, pattern: re.Pattern[str] | None) -> str:
    if rules.max_length and len(text) > rules.max_length:
        return f"has {len(text):,} characters: at most {rules.max_length:,} are allowed"
    if len(text) < rules.min_length:
        return f"has {len(text):,} characters: at least {rules.min_length:,} are needed"
    if rules.not_blank and not text.strip():
        return "must hold more than white space"
    if pattern and not pattern.fullmatch(text):
        return f"must be {rules.pattern_hint}"
    return ""
