"""Routes: what reaches the services, and as what."""

import grpc
import pytest
from feed.post.v1 import post_service_pb2 as posts
from feed.post.v1 import post_service_pb2_grpc as posts_grpc

from gateway import descriptors, openapi
from gateway.envoy import Gateway
from gateway.routes import routes
from tests.gateway.rest import Rest
from tests.gateway.servicer import LARGEST, Odd, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_annotated_route_reaches_its_rpc(rest: Rest, upstream: Upstream) -> None:
    """Each REST route of the contracts, aliases too, calls the method that it is annotated on."""
    for route in routes(descriptors.load()):
        path = route.template
        for variable in route.variables:
            path = path.replace(f"{{{variable}}}", "5")
        upstream.method = ""
        answer = await rest.call(route.verb, path, {} if route.body else None)
        assert (answer.status, upstream.method) == (200, route.rpc.name), route


async def test_the_openapi_document_names_exactly_the_routes_that_are_served(rest: Rest) -> None:
    """For every documented path, Envoy takes the documented methods and names just these when another is used."""
    document = (await rest.call("GET", "/openapi.json", token=None)).body
    assert document == openapi.document(descriptors.load())
    for path, operations in document["paths"].items():
        answer = await rest.call("PUT", path.replace("{", "").replace("}", ""), token=None)
        assert answer.refusal() == (405, 12)
        assert answer.headers["allow"] == ", ".join(sorted(verb.upper() for verb in operations)), path


async def test_ids_keep_all_64_bits_and_are_strings_in_json(rest: Rest, upstream: Upstream) -> None:
    """The largest id comes through a path and back without a digit changed."""
    answer = await rest.call("GET", f"/v1/posts/{LARGEST}")
    assert answer.body["post_id"] == str(LARGEST)
    assert upstream.request.post_id == LARGEST


async def test_response_body_is_the_whole_answer_with_snake_case_names_and_zeros(rest: Rest) -> None:
    """A route with `response_body` answers with that field alone."""
    answer = await rest.call("POST", "/v1/posts", {"content": "é\u0000😀", "media_urls": ["https://a.test/b"]})
    assert answer.body == {
        "post_id": str(LARGEST),
        "user_id": "0",
        "content": "é\u0000😀",
        "media_urls": ["https://a.test/b"],
        "version": 0,
    }


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("page_size=5", "page_size", 5),
        ("pageSize=5&cursor=abc", "page_size", 5),
        ("pageSize=5&cursor=a%2Bb+c", "cursor", "a+b c"),
        ("user_id=7&limit=3", "limit", 3),
        ("mode=FEED_MODE_CHRONOLOGICAL", "mode", 1),
        ("page_size=-1", "page_size", -1),
    ],
)
async def test_query_parameters_set_fields(rest: Rest, upstream: Upstream, query: str, field: str, value: object) -> None:
    """Both spellings of a field's name are taken as query parameters."""
    assert (await rest.call("GET", f"/feed?{query}")).status == 200
    assert getattr(upstream.request, field) == value


async def test_a_path_with_a_verb_is_a_route_of_its_own(rest: Rest, upstream: Upstream) -> None:
    """`/v1/users:lookup` is not a user's id."""
    assert (await rest.call("GET", "/v1/users:lookup?username=bob")).body["username"] == "bob"
    assert upstream.method == "LookupUser"
    assert (await rest.call("GET", "/v1/users/5:lookup")).refusal() == (404, 5)


async def test_update_masks_come_from_the_query(rest: Rest, upstream: Upstream) -> None:
    """PATCH takes the mask as a query parameter and the resource as body."""
    answer = await rest.call("PATCH", "/v1/posts/5?update_mask=content,media_urls", {"content": "x", "post_id": "5"})
    assert answer.status == 200
    assert list(upstream.request.update_mask.paths) == ["content", "media_urls"]
    assert (upstream.request.post.post_id, upstream.request.post.content) == (5, "x")


async def test_delete_takes_a_body_where_the_contract_says_so(rest: Rest, upstream: Upstream) -> None:
    """The design notes' own unfollow route names the followee in a body."""
    assert (await rest.call("DELETE", "/friends/create", {"followee_id": "9"})).status == 200
    assert upstream.request.followee_id == 9


async def test_errors_of_services_come_with_their_details(rest: Rest) -> None:
    """A service's status, reason and field violations are JSON with the matching HTTP status."""
    missing = await rest.call("GET", f"/v1/posts/{Odd.MISSING}")
    assert missing.refusal() == (404, 5)
    assert missing.body["message"] == 'no "such" post'
    assert missing.body["details"][0]["reason"] == "POST_NOT_FOUND"
    invalid = await rest.call("GET", f"/v1/posts/{Odd.INVALID}")
    assert invalid.refusal() == (400, 3)
    assert invalid.body["details"][1]["field_violations"][0]["field"] == "post_id"


async def test_an_error_without_details_has_the_same_form(rest: Rest) -> None:
    """Details are an empty list when a service gives none."""
    answer = await rest.call("GET", f"/v1/posts/{Odd.BARE}")
    assert answer.refusal() == (400, 9)
    assert answer.body["details"] == []


async def test_the_deadline_is_passed_on_and_kept(rest: Rest, upstream: Upstream) -> None:
    """A service is told how long it has, a client may shorten that, and a call that takes longer is 504."""
    await rest.call("GET", "/v1/posts/5")
    assert upstream.seconds_left is not None
    assert 0 < upstream.seconds_left <= 1.0
    await rest.call("GET", "/v1/posts/5", grpc_timeout="500m")
    assert upstream.seconds_left <= 0.5
    assert (await rest.call("GET", f"/v1/posts/{Odd.SLOW}")).refusal() == (504, 4)


async def test_answers_are_compressed_when_asked(rest: Rest) -> None:
    """A long JSON answer is gzipped for a client that takes gzip, and readable."""
    answer = await rest.call("GET", "/v1/posts/5", accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.body["content"].startswith("many words")


async def test_healthz_is_200_while_every_service_is_healthy(rest: Rest) -> None:
    """Readiness is JSON, needs no token, and takes GET only."""
    answer = await rest.call("GET", "/healthz", token=None)
    assert (answer.status, answer.body) == (200, {"status": "SERVING"})
    assert (await rest.call("POST", "/healthz", token=None)).refusal() == (405, 12)


async def test_native_grpc_goes_through_with_its_status_details(gateway: Gateway, rest: Rest) -> None:
    """A gRPC client reaches app methods at the gateway and gets a service's whole status."""
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        stub = posts_grpc.PostServiceStub(channel)
        token = (("authorization", f"Bearer {rest.token}"),)
        assert (await stub.GetPost(posts.GetPostRequest(post_id=5), metadata=token)).post.post_id == 5
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetPost(posts.GetPostRequest(post_id=Odd.MISSING), metadata=token)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata() or ())


async def test_grpc_callers_get_refusals_as_grpc_status(gateway: Gateway, rest: Rest) -> None:
    """A gRPC client that sends no token, too much, or calls a method for services only gets plain text and the right code."""
    token = (("authorization", f"Bearer {rest.token}"),)
    async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        stub = posts_grpc.PostServiceStub(channel)
        for call, code in (
            (stub.GetPost(posts.GetPostRequest(post_id=5)), grpc.StatusCode.UNAUTHENTICATED),
            (stub.LookupPosts(posts.LookupPostsRequest(), metadata=token), grpc.StatusCode.UNIMPLEMENTED),
            (stub.CreatePost(posts.CreatePostRequest(content="x" * 300_000), metadata=token), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is code
            assert not (caught.value.details() or "").startswith("{")


async def test_grpc_web_goes_through(rest: Rest, upstream: Upstream) -> None:
    """A browser's gRPC-web call reaches the method."""
    request = posts.GetPostRequest(post_id=5).SerializeToString()
    frame = b"\0" + len(request).to_bytes(4, "big") + request
    headers = {"authorization": f"Bearer {rest.token}", "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with rest.session.post(f"{rest.url}/feed.post.v1.PostService/GetPost", data=frame, headers=headers) as answer:
        body = await answer.read()
    assert upstream.method == "GetPost"
    assert b"grpc-status:0" in body.replace(b" ", b"")
