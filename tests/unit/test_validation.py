"""The rules that the contract writes beside its fields, each on messages made for it."""

import string
from typing import Any

import pytest
from feed.graph.v1 import user_service_pb2
from feed.post.v1 import post_pb2, post_service_pb2
from feed.rules.v1 import rules_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import InvalidArgumentError
from meshkit.rpc.validation import validate

FIELD = descriptor_pb2.FieldDescriptorProto
PACKAGE = "feed.made_for_tests"
FIELDS: list[tuple[str, int, bool, rules_pb2.FieldRules]] = [
    ("name", FIELD.TYPE_STRING, False, rules_pb2.FieldRules(required=True)),
    ("number", FIELD.TYPE_UINT64, False, rules_pb2.FieldRules(required=True)),
    ("short", FIELD.TYPE_STRING, False, rules_pb2.FieldRules(min_length=2, max_length=4)),
    ("code", FIELD.TYPE_STRING, False, rules_pb2.FieldRules(pattern="[a-z]{2}", pattern_hint="two small letters")),
    ("text", FIELD.TYPE_STRING, False, rules_pb2.FieldRules(not_blank=True)),
    ("tags", FIELD.TYPE_STRING, True, rules_pb2.FieldRules(max_items=2, max_length=3, pattern="[a-z]*", pattern_hint="small")),
    ("wanted", FIELD.TYPE_STRING, True, rules_pb2.FieldRules(required=True)),
    ("ids", FIELD.TYPE_FIXED64, True, rules_pb2.FieldRules(max_items=3)),
    ("free", FIELD.TYPE_STRING, False, rules_pb2.FieldRules()),
]


def made_message() -> type[Message]:
    """Make a message type with a field for each rule, and a nested message, required and optional."""
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto(name="feed/made_for_tests.proto", package=PACKAGE, syntax="proto3")
    file.dependency.append("feed/rules/v1/rules.proto")
    one = file.message_type.add(name="One")
    for number, (name, kind, repeated, rules) in enumerate(FIELDS, start=1):
        label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
        field = one.field.add(name=name, number=number, type=kind, label=label)
        field.options.Extensions[rules_pb2.field].CopyFrom(rules)
    two = file.message_type.add(name="Two")
    for number, name in enumerate(("must", "may"), start=1):
        field = two.field.add(name=name, number=number, type=FIELD.TYPE_MESSAGE, label=FIELD.LABEL_OPTIONAL)
        field.type_name = f".{PACKAGE}.One"
        field.options.Extensions[rules_pb2.field].required = name == "must"
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Two"))


@pytest.fixture(scope="module")
def two() -> type[Message]:
    """Give the message type that holds the others."""
    return made_message()


@pytest.fixture
def one(two: type[Message]) -> Any:  # noqa: ANN401
    """Give a message that keeps every rule, to be spoiled."""
    message: Any = two().must  # type: ignore[attr-defined]
    message.name, message.number = "n", 1
    message.wanted.append("w")
    assert problems(message) == {}
    return message


def problems(message: Message) -> dict[str, str]:
    """Give what is wrong with a message."""
    try:
        validate(message)
    except InvalidArgumentError as error:
        told = all(f"{field} {problem}" in error.message for field, problem in error.fields.items())
        return error.fields if told and error.reason == "INVALID_FIELD" else {"": "is not told in the message"}
    return {}


@pytest.mark.parametrize("field", ["name", "number", "wanted"])
def test_required_fields_have_to_be_set(one: Any, field: str) -> None:  # noqa: ANN401
    """Zero, the empty string and the empty list are not set."""
    one.ClearField(field)
    assert problems(one) == {field: "is required"}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("short", "", None),
        ("short", "a", "has 1 characters: at least 2 are needed"),
        ("short", "ab", None),
        ("short", "😀" * 4, None),
        ("short", "😀" * 5, "has 5 characters: at most 4 are allowed"),
        ("code", "", None),
        ("code", "ab", None),
        ("code", "abc", "must be two small letters"),
        ("code", "ab\n", "must be two small letters"),
        ("code", "\nab", "must be two small letters"),
        ("code", "AB", "must be two small letters"),
        ("text", "", None),
        ("text", " x ", None),
        ("text", " \u3000\n", "must hold more than white space"),
        ("text", "\0", None),
        ("free", " " * 100_000, None),
    ],
)
def test_rules_of_a_string(one: Any, field: str, value: str, problem: str | None) -> None:  # noqa: ANN401
    """Lengths count code points, patterns match the whole, blank is white space only, and an empty string is only not required."""
    setattr(one, field, value)
    assert problems(one) == ({field: problem} if problem else {})


@pytest.mark.parametrize(
    ("field", "values", "problem"),
    [
        ("tags", ["a", "b"], None),
        ("tags", ["a", "b", "c"], "has 3 elements: at most 2 are allowed"),
        ("tags", ["a", "abcd"], "element 1 has 4 characters: at most 3 are allowed"),
        ("tags", ["A", "b"], "element 0 must be small"),
        ("tags", ["a", ""], "element 1 is empty"),
        ("ids", [0, 0, 0], None),
        ("ids", [1, 2, 3, 4], "has 4 elements: at most 3 are allowed"),
    ],
)
def test_rules_of_a_list(one: Any, field: str, values: list[Any], problem: str | None) -> None:  # noqa: ANN401
    """The number of elements is bounded, and each element keeps the rules of a string and is not empty."""
    getattr(one, field).extend(values)
    assert problems(one) == ({field: problem} if problem else {})


def test_every_problem_is_told_at_once(one: Any) -> None:  # noqa: ANN401
    """All wrong fields are named, each with its problem."""
    one.name, one.short, one.code = "", "a", "1"
    assert set(problems(one)) == {"name", "short", "code"}


def test_messages_inside_messages_keep_their_rules(two: type[Message], one: Any) -> None:  # noqa: ANN401
    """A required message has to be there, an optional one need not; what is inside is named with its path."""
    outer: Any = two()
    assert problems(outer) == {"must": "is required"}
    outer.must.CopyFrom(one)
    assert problems(outer) == {}
    outer.may.short = "a"
    assert set(problems(outer)) == {"may.name", "may.number", "may.wanted", "may.short"}


@given(text=st.text(max_size=35) | st.text(string.ascii_letters + string.digits + "_\n ", max_size=35))
def test_usernames_are_what_the_contract_says(text: str) -> None:
    """Of all texts exactly 3 to 30 of A-Z a-z 0-9 _ pass as a username."""
    plain = 3 <= len(text) <= 30 and set(text) <= set(string.ascii_letters + string.digits + "_")
    assert set(problems(user_service_pb2.CreateUserRequest(username=text))) == (set() if plain else {"username"})


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_content_is_any_text_that_is_not_blank(text: str) -> None:
    """Of all short texts exactly the blank ones are refused as content."""
    assert bool(problems(post_service_pb2.CreatePostRequest(content=text))) == (not text.strip())


def test_a_posts_rules_hold_inside_an_edit() -> None:
    """The rules of the Post message count wherever it is sent."""
    edit = post_service_pb2.UpdatePostRequest(post=post_pb2.Post(content=" ", media_urls=["nonsense"]))
    assert set(problems(edit)) == {"post.content", "post.media_urls"}
