"""What the gateway reads from the contracts, and what it writes for Envoy, without running it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from pydantic import ValidationError

from gateway import descriptors, openapi
from gateway.bootstrap import bootstrap
from gateway.clusters import clusters
from gateway.comments import comments
from gateway.fields import query_fields, unwrapped
from gateway.guard import script
from gateway.retries import retry_policy
from gateway.routes import Access, Route, methods, routes
from gateway.settings import GatewaySettings, RateLimit

CONTRACTS = descriptors.load()
PROMISED = {
    "POST /posts",
    "POST /posts/create",
    "GET /feed",
    "POST /follow",
    "POST /friends/create",
    "DELETE /friends/create",
    "GET /v1/users:lookup",
    "PATCH /v1/posts/{post.post_id}",
}


def settings(**changed: object) -> GatewaySettings:
    """Give settings with an upstream for each service."""
    upstreams = {method.service: "127.0.0.1:1" for method in methods(CONTRACTS)}
    return GatewaySettings.model_validate({"upstreams": upstreams, "jwks_file": Path("jwks.json"), **changed})


def find(name: str) -> Route:
    """Find a route by method and template."""
    return next(route for route in routes(CONTRACTS) if f"{route.verb} {route.template}" == name)


def test_all_promised_routes_are_read() -> None:
    """The design notes' literal routes, verbs in paths and nested variables are among the routes."""
    assert {f"{route.verb} {route.template}" for route in routes(CONTRACTS)} >= PROMISED


def test_access_comes_from_the_contract() -> None:
    """Sign-up is public, reading a post needs a user, and methods for services only are not listed."""
    access = {method.full_name: method.access for method in methods(CONTRACTS)}
    assert access["feed.graph.v1.UserService.CreateUser"] is Access.PUBLIC
    assert access["feed.post.v1.PostService.GetPost"] is Access.USER
    assert "feed.post.v1.PostService.LookupPosts" not in access


def test_a_route_that_nobody_may_call_is_an_error() -> None:
    """A REST annotation without an access rule is a mistake in the contract."""
    wrong = copy_of_contracts()
    method = next(m for file in wrong.file for service in file.service for m in service.method if m.name == "LookupPosts")
    method.options.Extensions[annotations_pb2.http].get = "/v1/lookup"
    with pytest.raises(ValueError, match=r"LookupPosts has a REST route but no access rule"):
        list(routes(wrong))


@pytest.mark.parametrize(
    ("name", "path", "matches"),
    [
        ("GET /v1/posts/{post_id}", "/v1/posts/5", True),
        ("GET /v1/posts/{post_id}", "/v1/posts/", False),
        ("GET /v1/posts/{post_id}", "/v1/posts/5/6", False),
        ("GET /v1/users/{user_id}/posts", "/v1/users/5/posts", True),
        ("GET /v1/users:lookup", "/v1/users:lookup", True),
        ("GET /v1/users:lookup", "/v1/usersXlookup", False),
    ],
)
def test_patterns_match_whole_segments(name: str, path: str, *, matches: bool) -> None:
    """A variable is one segment that is not empty, the rest is literal."""
    assert bool(re.fullmatch(find(name).pattern, path)) is matches


def test_query_fields_are_what_path_and_body_leave() -> None:
    """A PATCH leaves its mask and request id to the query; a whole-message body leaves nothing."""
    messages = descriptors.messages(CONTRACTS)
    patch = [leaf.path for leaf in query_fields(find("PATCH /v1/posts/{post.post_id}"), messages)]
    assert patch == ["update_mask", "request_id"]
    assert not list(query_fields(find("POST /v1/posts"), messages))


def test_an_answer_that_cannot_be_unwrapped_is_an_error() -> None:
    """`response_body` needs a response with that one field."""
    wrong = copy_of_contracts()
    message = next(m for file in wrong.file for m in file.message_type if m.name == "CreatePostResponse")
    message.field.add(name="warning", number=2, type="TYPE_STRING", label="LABEL_OPTIONAL", json_name="warning")
    with pytest.raises(ValueError, match="must be the response's only field"):
        unwrapped(find("POST /v1/posts"), descriptors.messages(wrong))


def test_envoys_descriptors_are_complete_and_know_error_details() -> None:
    """Every import is there, before it is needed, and google.rpc's details are among the messages."""
    pool = DescriptorPool()
    for file in descriptors.for_envoy(CONTRACTS).file:
        pool.AddSerializedFile(file.SerializeToString())
    assert pool.FindMessageTypeByName("google.rpc.BadRequest")
    assert pool.FindMessageTypeByName("google.rpc.ErrorInfo")


def test_comments_are_found_for_every_kind_of_element() -> None:
    """Messages, fields, methods, services, enums and their values have their comments; paragraphs stay."""
    found = comments(CONTRACTS)
    assert found["feed.post.v1.Post.content"].startswith("The text: 1 to 10,000")
    assert found["feed.timeline.v1.FeedMode.FEED_MODE_CHRONOLOGICAL"] == "Newest first."
    assert "\n\nErrors: " in found["feed.post.v1.PostService.CreatePost"]


def test_scripts_hold_the_contract_as_lua() -> None:
    """A guard knows both spellings of a field and which value the path gives."""
    text = script(find("PATCH /v1/posts/{post.post_id}"), descriptors.messages(CONTRACTS))
    assert 'local ROOT = "feed.post.v1.Post"' in text
    assert '["mediaUrls"] = {["name"] = "media_urls", ["list"] = true}' in text
    assert 'local VARIABLES = {"post_id"}' in text
    assert 'local PATH = "^/v1/posts/([^/]+)$"' in text


def test_the_bootstrap_is_plain_json_and_the_same_every_time() -> None:
    """It can be written as it is, and changes only with contracts and settings."""
    made = [json.dumps(bootstrap(CONTRACTS, Path("d"), "{}", settings())) for _ in range(2)]
    assert made[0] == made[1]
    assert "admin" not in json.loads(made[0])


@pytest.mark.parametrize(("admin", "key"), [(9901, "socket_address"), (Path("admin.sock"), "pipe")])
def test_the_admin_page_listens_on_this_machine_only(admin: int | Path, key: str) -> None:
    """The admin page is a loopback port or a unix socket."""
    address = bootstrap(CONTRACTS, Path("d"), "{}", settings(admin=admin))["admin"]
    assert key in json.dumps(address)
    assert key != "socket_address" or "127.0.0.1" in json.dumps(address)


def test_host_names_are_resolved_and_addresses_are_not() -> None:
    """A cluster for a name follows DNS."""
    upstreams = dict.fromkeys({method.service for method in methods(CONTRACTS)}, "[::1]:1")
    named = {**upstreams, "feed.post.v1.PostService": "post-svc:50051"}
    made = json.dumps(bootstrap(CONTRACTS, Path("d"), "{}", settings(upstreams=named))["static_resources"])
    assert made.count('"STRICT_DNS"') == 1
    assert '"::1"' in made


def test_a_list_of_addresses_is_one_cluster() -> None:
    """Every address of a service's list is an endpoint of its cluster."""
    upstreams = dict.fromkeys({method.service for method in methods(CONTRACTS)}, "10.0.0.1:1,10.0.0.2:2")
    made = clusters(["feed.post.v1.PostService"], settings(upstreams=upstreams))
    assert [re.findall(r'"address": "([^"]+)", "port_value": (\d)', json.dumps(cluster)) for cluster in made] == [
        [("10.0.0.1", "1"), ("10.0.0.2", "2")]
    ]


def test_only_what_may_be_repeated_is_sent_again_after_an_uncertain_end() -> None:
    """Reads and deletions may be called again when nobody knows what the first call did, new posts not; a stream has no time.

    An answer, UNAVAILABLE too, is certain.
    """
    known = {method.name: method for method in methods(CONTRACTS)}
    policies = {name: retry_policy(method, settings()) for name, method in known.items()}
    causes = {name: str(policy["retry_on"]).split(",") for name, policy in policies.items()}
    assert all("reset" in causes[name] for name in ("GetPost", "GetHomeTimeline", "DeletePost", "DeleteFollow"))
    assert not [name for name in ("CreatePost", "UpdatePost", "CreateUser") if "reset" in causes[name]]
    assert not [name for name in causes if "unavailable" in causes[name]]
    assert "per_try_timeout" in policies["GetPost"]
    assert "per_try_timeout" not in retry_policy(replace(known["GetPost"], streaming=True), settings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"upstreams": {"a": "nowhere"}},
        {"upstreams": {"a": "graph:1,post:1"}},
        {"edge_upstream": "edge"},
        {"tls_cert": "cert.pem"},
        {"cors_origins": ["*"]},
        {"port": 65_536},
        {"max_request_bytes": 1},
        {"cors_origins": ["a.test"]},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """Addresses need a port, origins a scheme and no wildcard, numbers a sensible size."""
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_a_burst_holds_at_least_a_second() -> None:
    """A bucket smaller than its own refill is a mistake."""
    with pytest.raises(ValidationError, match="burst"):
        RateLimit(per_second=10, burst=5)


def test_the_openapi_document_is_well_formed() -> None:
    """Every reference leads somewhere, every path variable is a parameter, and operation ids are unique."""
    document = json.loads(json.dumps(openapi.document(CONTRACTS)))
    assert document["openapi"].startswith("3.1")
    operations = [(path, operation) for path, item in document["paths"].items() for operation in item.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids)) == len(list(routes(CONTRACTS)))
    for path, operation in operations:
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert named == set(re.findall(r"\{(.+?)\}", path)), path
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        target = document
        for key in reference.split("/"):
            target = target[key]


def test_no_two_paths_of_the_document_differ_in_names_only() -> None:
    """OpenAPI forbids templates that match the same paths."""
    paths = [re.sub(r"\{.+?\}", "{}", path) for path in openapi.document(CONTRACTS)["paths"]]  # type: ignore[attr-defined]
    assert len(paths) == len(set(paths))


def test_limits_and_aliases_are_in_the_document() -> None:
    """Field rules become JSON schema, ids are strings, and additional bindings say what they are another name of."""
    document = json.loads(json.dumps(openapi.document(CONTRACTS)))
    request = document["components"]["schemas"]["feed.post.v1.CreatePostRequest"]
    assert request["required"] == ["content"]
    assert request["properties"]["content"]["maxLength"] == 10_000
    assert request["properties"]["media_urls"]["maxItems"] == 10
    assert request["properties"]["user_id"]["type"] == "string"
    assert document["paths"]["/posts"]["post"]["x-alias-of"] == "PostService_CreatePost"
    assert document["paths"]["/v1/users"]["post"]["security"] == [{}, {"bearer": []}]


def operation(verb: str, path: str) -> dict[str, Any]:
    """Find an operation of the document."""
    found: dict[str, Any] = json.loads(json.dumps(openapi.document(CONTRACTS)))["paths"][path][verb]
    return found


@pytest.mark.parametrize(
    ("path", "required", "optional"),
    [
        ("/v1/users:lookup", {"username"}, set()),
        ("/v1/feed:explain", {"post_id"}, {"user_id"}),
        ("/v1/users/{user_id}/posts", set(), {"page_size", "page_token"}),
    ],
)
def test_the_document_tells_which_query_parameters_are_needed(path: str, required: set[str], optional: set[str]) -> None:
    """A query parameter is required where the contract requires its field, and nowhere else."""
    query = [parameter for parameter in operation("get", path)["parameters"] if parameter["in"] == "query"]
    assert {parameter["name"] for parameter in query if parameter["required"]} == required
    assert {parameter["name"] for parameter in query if not parameter["required"]} == optional


@pytest.mark.parametrize(
    ("verb", "path", "fields"),
    [
        ("post", "/v1/follow-requests/{follower_id}:approve", {"request_id"}),
        ("post", "/v1/media/{media_id}:complete", set()),
        ("patch", "/v1/posts/{post_id}", {"user_id", "content", "media_urls", "create_time", "update_time", "version"}),
    ],
)
def test_a_body_has_nothing_that_the_path_gives(verb: str, path: str, fields: set[str]) -> None:
    """A body's fields are those that are no variables of its path; without a required one it may be left out."""
    body = operation(verb, path)["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == fields
    assert "required" not in schema
    assert body["required"] is False


@pytest.mark.parametrize(("verb", "path"), [("post", "/v1/posts"), ("post", "/v1/follows"), ("delete", "/friends/create")])
def test_a_body_that_the_path_gives_nothing_of_is_the_whole_message(verb: str, path: str) -> None:
    """Such a body is a reference to its message, and required where one of its fields is."""
    body = operation(verb, path)["requestBody"]
    name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert openapi.document(CONTRACTS)["components"]["schemas"][name]["required"]  # type: ignore[index]
    assert body["required"] is True


def copy_of_contracts() -> FileDescriptorSet:
    """Give a copy that a test may spoil."""
    copy = FileDescriptorSet()
    copy.CopyFrom(CONTRACTS)
    return copy
