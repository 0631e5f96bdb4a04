"""Input that the contracts do not allow: each a 4xx that says what is wrong, and nothing reaches a service."""

import pytest

from tests.gateway.rest import Rest
from tests.gateway.servicer import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOO_LONG = '{"content":"' + "x" * 262_144 + '"}'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{bad", "field name in double quotes"),
        ("{'content':'x'}", "field name in double quotes"),
        ('{"content":"x",}', "field name in double quotes"),
        ('{"content":"x"} {}', "the end"),
        ('{"content":"x"', "comma or }"),
        ('{"content":"x', "end of a string"),
        ('{"content" "x"}', "colon"),
        ('{"user_id":01}', "a value"),
        ('{"user_id":+1}', "a value"),
        ('{"user_id":1.}', "comma or }"),
        ('{"user_id":NaN}', "a value"),
        ('{"content":"\t"}', "control character"),
        ('{"content":"\\x"}', "escape"),
        ('{"content":"\\u12"}', "hexadecimal"),
        ('{"content":"\\ud800"}', "surrogate"),
        ('{"content":"\\udc00\\ud800"}', "surrogate"),
        ("[]", "Expected {"),
        ("null", "Expected {"),
        ('"x"', "Expected {"),
        ("  ", "Expected {"),
        (b"\xef\xbb\xbf{}", "Expected {"),
        (b'{"content":"\xff"}', "not UTF-8"),
        (b'{"content":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"content":"\xc0\xaf"}', "not UTF-8"),
        (b'{"content":"\xf4\x90\x80\x80"}', "not UTF-8"),
        (b'{"content":"\xe2\x82"}', "not UTF-8"),
        ('{"nope":1}', 'no field "nope"'),
        ('{"content":"a","content":"b"}', "twice"),
        ('{"media_urls":[],"mediaUrls":[]}', "twice"),
        ('{"content":["a"]}', "single value"),
        ('{"content":{}}', "single value"),
        ('{"media_urls":"https://a.test"}', "must be a list"),
        ('{"media_urls":[["a"]]}', "single value"),
        ('{"media_urls":[null]}', "null"),
        ('{"content":5}', "content"),
        ('{"content":true}', "content"),
        ('{"user_id":1.5}', "user_id"),
        ('{"user_id":-1}', "user_id"),
        ('{"user_id":"18446744073709551616"}', "user_id"),
        ('{"user_id":1e400}', ""),
        ('{"user_id":" 7"}', "user_id"),
        ("[" * 100_000, "Expected {"),
        ('{"content":' + "[" * 100_000, "single value"),
        ('{"a":' * 40_000, "no field"),
    ],
)
async def test_a_wrong_body_is_refused(rest: Rest, upstream: Upstream, body: str | bytes, said: str) -> None:
    """What is not strict JSON of the contract's shape is 400, with words that help."""
    upstream.method = ""
    answer = await rest.call("POST", "/v1/posts", body)
    assert answer.refusal() == (400, 3)
    assert said in answer.body["message"]
    assert upstream.method == ""


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ('{"content":"\\ud83d\\ude00 \\u00e9\\/\\n"}', "😀 é/\n"),
        (' {\n"content" :\t"a" , "user_id":null, "request_id" : null }\r\n', "a"),
        ('{"content":"\U0010ffff\ufffe\u0300\u202e"}', "\U0010ffff\ufffe\u0300\u202e"),
        ('{"content":"x","user_id":7,"media_urls":null}', "x"),
        ('{"content":"x","user_id":7.0e0}', "x"),
        ("{}", ""),
        ("", ""),
    ],
)
async def test_odd_but_right_bodies_go_through_exactly(rest: Rest, upstream: Upstream, body: str, content: str) -> None:
    """All of JSON and Unicode is taken, null is absence, and an empty body is an empty request for the service to judge."""
    assert (await rest.call("POST", "/v1/posts", body)).status == 200
    assert upstream.request.content == content


@pytest.mark.parametrize(
    "path",
    [
        "/v1/posts/abc",
        "/v1/posts/-1",
        "/v1/posts/1.5",
        "/v1/posts/18446744073709551616",
        "/v1/posts/5?post_id=6",
        "/v1/posts/5?what=x",
        "/v1/feed?page_size=x",
        "/v1/feed?page_size=99999999999",
        "/v1/feed?page_size=1&pageSize=2",
        "/v1/feed?mode=NOPE",
        "/v1/users:lookup?username=%ff",
        "/v1/users:lookup?username=%zz",
        "/v1/users:lookup?=x",
    ],
)
async def test_a_wrong_path_or_query_is_refused(rest: Rest, upstream: Upstream, path: str) -> None:
    """Ids and parameters that are not what the contract says are 400."""
    upstream.method = ""
    assert (await rest.call("GET", path)).refusal() == (400, 3)
    assert upstream.method == ""


async def test_nothing_overrules_the_path(rest: Rest, upstream: Upstream) -> None:
    """A body or query that names another resource than the path is refused."""
    upstream.method = ""
    for verb, path, body in (
        ("PATCH", "/v1/posts/5", {"post_id": "6"}),
        ("PATCH", "/v1/posts/5?post.post_id=6", {"content": "x"}),
        ("PATCH", "/v1/posts/5?post.content=y", {"content": "x"}),
        ("GET", "/v1/posts/5", {"post_id": "6"}),
        ("DELETE", "/v1/posts/5", {"post_id": "6"}),
        ("POST", "/v1/posts?user_id=6", {"content": "x"}),
    ):
        assert (await rest.call(verb, path, body)).refusal() == (400, 3), path
    assert upstream.method == ""


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "x"])
async def test_a_body_must_say_that_it_is_json(rest: Rest, kind: str) -> None:
    """Another content type is 415."""
    assert (await rest.call("POST", "/v1/posts", '{"content":"x"}', content_type=kind)).refusal() == (415, 3)


async def test_a_body_over_the_limit_is_refused(rest: Rest, upstream: Upstream) -> None:
    """More than 256 KiB is 413."""
    upstream.method = ""
    answer = await rest.call("POST", "/v1/posts", TOO_LONG)
    assert answer.refusal() == (413, 3)
    assert "262144" in answer.body["message"]
    assert upstream.method == ""


async def test_headers_over_the_limit_are_refused(rest: Rest) -> None:
    """Headers of more than 60 KiB are 431."""
    assert (await rest.call("GET", "/v1/posts/5", x_long="x" * 70_000)).refusal() == (431, 3)


async def test_unknown_routes_are_404_and_wrong_methods_405(rest: Rest) -> None:
    """A path that is not there is 404 whatever the token; a known one tells which methods it takes."""
    for path in ("/", "/nope", "/v1/posts/5/", "/V1/posts/5", "/v1/posts/5/nope"):
        assert (await rest.call("GET", path)).refusal() == (404, 5)
        assert (await rest.call("GET", path, token=None)).refusal() == (404, 5)
    answer = await rest.call("DELETE", "/v1/posts")
    assert answer.refusal() == (405, 12)
    assert answer.headers["allow"] == "POST"
