"""What is wrong is refused with a clear answer, and changes nothing."""

import asyncio
import string

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.parts import Mesh
from tests.gateway.rest import Answer
from tests.mesh.conftest import ORIGIN, People, Someone, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

INVALID, NOT_FOUND, EXISTS, DENIED, UNAUTHENTICATED = (400, 3), (404, 5), (409, 6), (403, 7), (401, 16)


def fields(answer: Answer) -> set[str]:
    """Give the request fields that a refusal names."""
    return {violation["field"] for detail in answer.body["details"] for violation in detail.get("field_violations", [])}


@pytest.mark.parametrize(
    "content",
    ["", " \n\t ", "x" * 10_001, "x" * 100_001, "🎈" * 10_001, None],
    ids=["empty", "blank", "10,001", "100,001", "10,001 astral", "null"],
)
async def test_content_outside_its_limits(someone: People, content: str | None) -> None:
    """Content that is empty, blank or over 10,000 characters is refused by name, and nothing is posted."""
    author = await someone()
    answer = await author.post("/v1/posts", {"content": content})
    assert answer.refusal() == INVALID
    assert fields(answer) == {"content"}
    assert (await author.get(f"/v1/users/{author.user_id}/posts")).body["posts"] == []


@pytest.mark.parametrize(
    "content",
    [
        "x" * 10_000,
        "🎈" * 10_000,
        "e\u0301 é ﷽ \u202eright to left\u202c 👩‍👩‍👧‍👦 \u0000 \ufeff \U0010ffff",
        string.printable,
        '"\\/\b\f\n\r\t<script>&amp;',
    ],
    ids=["10,000", "10,000 astral", "unicode", "ascii", "escapes"],
)
async def test_all_of_unicode_is_kept(someone: People, content: str) -> None:
    """Text up to the limit comes back exactly, from the answer, by id and in the feed."""
    author = await someone()
    created = await author.post("/v1/posts", {"content": content})
    assert created.status == 200
    assert created.body["content"] == content
    post_id = created.body["post_id"]
    assert (await author.get(f"/v1/posts/{post_id}")).body["content"] == content

    async def shown() -> bool:
        items = (await author.get("/v1/feed")).body["items"]
        return bool(items) and items[0]["post"]["content"] == content

    await eventually(shown)


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", "/v1/posts/1", None),
        ("DELETE", "/v1/posts/1", None),
        ("PATCH", "/v1/posts/1", {"content": "x"}),
        ("GET", "/v1/users/1", None),
        ("GET", "/v1/users/1/followers", None),
        ("GET", "/v1/users/1/following", None),
        ("GET", "/v1/users:lookup?username=nobody_has_this_name", None),
        ("POST", "/v1/follows", {"followee_id": "1"}),
    ],
)
async def test_unknown_ids(someone: People, verb: str, path: str, body: object) -> None:
    """What names a user or post that does not exist is answered 404."""
    assert (await (await someone()).rest.call(verb, path, body)).refusal() == NOT_FOUND


async def test_somebody_elses_id(someone: People) -> None:
    """Nobody acts as somebody else, or changes what is another's."""
    author, other = await someone(), await someone()
    post_id = await author.publish("mine")
    refused = [
        await other.post("/v1/posts", {"content": "as you", "user_id": author.user_id}),
        await other.post("/v1/follows", {"followee_id": author.user_id, "follower_id": author.user_id}),
        await other.get(f"/v1/feed?user_id={author.user_id}"),
        await other.rest.call("PATCH", f"/v1/posts/{post_id}", {"content": "yours"}),
        await other.rest.call("DELETE", f"/v1/posts/{post_id}"),
        await other.rest.call("PATCH", f"/v1/users/{author.user_id}", {"bio": "yours"}),
    ]
    assert [answer.refusal() for answer in refused] == [DENIED] * len(refused)
    assert (await author.get(f"/v1/posts/{post_id}")).body["content"] == "mine"
    assert (await author.get(f"/v1/users/{author.user_id}/posts")).body["posts"][0]["version"] == 1


async def test_following_oneself(someone: People) -> None:
    """Nobody follows themselves."""
    user = await someone()
    assert (await user.post("/v1/follows", {"followee_id": user.user_id})).refusal() == INVALID
    assert (await user.get(f"/v1/users/{user.user_id}")).body["following_count"] == 0


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", "/v1/posts/abc", None),
        ("GET", "/v1/posts/-1", None),
        ("GET", "/v1/posts/18446744073709551616", None),
        ("GET", "/v1/posts/0", None),
        ("GET", "/v1/users/1.5", None),
        ("GET", "/v1/users/%00", None),
        ("POST", "/v1/follows", {"followee_id": "abc"}),
        ("POST", "/v1/follows", {"followee_id": {}}),
        ("POST", "/v1/follows", {}),
        ("GET", "/v1/feed?page_size=-1", None),
        ("GET", "/v1/feed?page_size=x", None),
        ("GET", "/v1/feed?limit=-1", None),
        ("GET", "/v1/feed?page_size=5&limit=6", None),
        ("GET", "/v1/feed?mode=UPSIDE_DOWN", None),
        ("GET", "/v1/feed?mode=99", None),
        ("GET", "/v1/feed?page_token=nonsense", None),
        ("GET", "/v1/feed?page_token=" + "A" * 600, None),
        ("GET", "/v1/feed?colour=red", None),
        ("POST", "/v1/posts", {"content": "x", "colour": "red"}),
        ("POST", "/v1/posts", {"content": ["x"]}),
        ("POST", "/v1/posts", {"content": "x", "media_urls": ["javascript:alert(1)"]}),
        ("POST", "/v1/posts", {"content": "x", "media_urls": ["https://a.test/"] * 11}),
        ("POST", "/v1/posts", {"content": "x", "request_id": "spaces are wrong"}),
        ("POST", "/v1/posts", '{"content": "x"'),
        ("POST", "/v1/posts", "content=x"),
        ("POST", "/v1/posts", "[]"),
        ("POST", "/v1/posts", '{"content": "\\ud800"}'),
        ("POST", "/v1/posts", b'{"content": "\xff"}'),
        ("POST", "/v1/posts", '{"content":' + "[" * 20_000 + "]" * 20_000 + "}"),
    ],
)
async def test_malformed_requests(someone: People, verb: str, path: str, body: object) -> None:
    """What has the wrong form is answered 400, and nothing is posted or followed."""
    user = await someone()
    assert (await user.rest.call(verb, path, body)).refusal() == INVALID
    assert (await user.get(f"/v1/users/{user.user_id}/posts")).body["posts"] == []
    assert (await user.get(f"/v1/users/{user.user_id}")).body["following_count"] == 0


async def test_huge_bodies(someone: People) -> None:
    """A body over 256 KiB is answered 413."""
    answer = await (await someone()).post("/v1/posts", {"content": "x" * 300_000})
    assert answer.refusal()[0] == 413


async def test_page_tokens_of_others_and_tampered_ones(someone: People) -> None:
    """A page token works for its reader and query only, and not when a single character of it is changed."""
    author, other = await someone(), await someone()
    for number in range(3):
        await author.publish(f"{number}")
    await eventually(lambda: _count(author, 3))
    token = (await author.get("/v1/feed?page_size=1")).body["next_page_token"]
    assert (await author.get(f"/v1/feed?page_size=1&page_token={token}")).status == 200
    changed = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    refused = [
        await other.get(f"/v1/feed?page_token={token}"),
        await author.get(f"/v1/feed?page_token={changed}"),
        await author.get(f"/v1/users/{author.user_id}/posts?page_token={token}"),
    ]
    assert [answer.refusal() for answer in refused] == [INVALID] * 3


@pytest.mark.parametrize(
    "username", ["", "ab", "a" * 31, "a b", "ünï", "a-b", "a\u0000b", "\u0430dmin", "abc\n", "@abc", "..", "\U0001f388" * 3]
)
async def test_odd_usernames(someone: People, username: str) -> None:
    """A username that is not 3 to 30 letters, digits or underscores is refused by name."""
    answer = await (await someone()).rest.call("POST", "/v1/users", {"username": username}, token=None)
    assert answer.refusal() == INVALID
    assert fields(answer) == {"username"}


async def test_duplicate_usernames(someone: People) -> None:
    """A username is taken in every spelling of its case."""
    user = await someone()
    for name in (user.username, user.username.upper()):
        assert (await user.rest.call("POST", "/v1/users", {"username": name}, token=None)).refusal() == EXISTS


async def test_wrong_tokens(mesh: Mesh, someone: People) -> None:
    """A token that is missing, expired, unsigned, wrongly signed or for others is answered 401, and posts nothing."""
    user = await someone()
    good = jwt.decode(user.rest.token, options={"verify_signature": False})
    stranger = ec.generate_private_key(ec.SECP256R1())

    def signed(**changes: object) -> str:
        return jwt.encode({**good, **changes}, stranger, algorithm="ES256", headers={"kid": "dev-1"})

    head, payload, signature = user.rest.token.split(".")
    none_head = jwt.encode({}, "", algorithm="none").split(".")[0]
    wrong = [
        None,
        "nonsense",
        signed(),
        signed(exp=1),
        f"{none_head}.{payload}.",
        f"{none_head}.{payload}.{signature}",
        f"{head}.{payload}.",
        jwt.encode(good, "secret-that-is-long-enough-for-hs256", algorithm="HS256", headers={"kid": "dev-1"}),
    ]
    for token in wrong:
        answer = await user.rest.call("POST", "/v1/posts", {"content": "x"}, token=token)
        assert answer.refusal() == UNAUTHENTICATED, token
    assert (await user.get(f"/v1/users/{user.user_id}/posts")).body["posts"] == []
    assert mesh.url


async def test_spoofed_identity_headers(someone: People) -> None:
    """No header but the token tells who calls."""
    user, other = await someone(), await someone()
    spoofed = {"x_user_id": other.user_id, "x_feedmesh_service": "graph", "x_feedmesh_user": other.user_id}
    answer = await user.rest.call("POST", "/v1/posts", {"content": "who am I?"}, **spoofed)
    assert answer.body["user_id"] == user.user_id
    refused = await user.rest.call("POST", "/v1/posts", {"content": "x"}, token=None, **spoofed)
    assert refused.refusal() == UNAUTHENTICATED


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/posts/1/", "/V1/posts", "/feed.timeline.v1.TimelineService/PushEntries", "/v1"]
)
async def test_unknown_routes(someone: People, path: str) -> None:
    """What is not a route for apps is answered 404."""
    assert (await (await someone()).post(path, {})).refusal()[0] == 404


async def test_wrong_methods(someone: People) -> None:
    """A route's path with another method is answered 405 and told which are allowed."""
    answer = await (await someone()).rest.call("PUT", "/v1/posts", {})
    assert answer.refusal()[0] == 405
    assert answer.headers["allow"] == "POST"


async def test_cross_origin_requests(someone: People) -> None:
    """Browsers on the allowed origin, and on no other, may call."""
    user = await someone()
    preflight = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    allowed = await user.rest.session.options(
        f"{user.rest.url}/v1/posts", headers={key.replace("_", "-"): value for key, value in preflight.items()} | {"origin": ORIGIN}
    )
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    other = await user.rest.call("GET", "/v1/feed", origin="http://evil.test")
    assert "access-control-allow-origin" not in other.headers


async def test_the_openapi_document_is_served(someone: People) -> None:
    """Anybody can read the routes as an OpenAPI 3.1 document."""
    answer = await (await someone()).rest.call("GET", "/openapi.json", token=None)
    assert answer.body["openapi"].startswith("3.1")
    assert "/v1/feed" in answer.body["paths"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


BODIES = JSON | st.dictionaries(st.sampled_from(["content", "media_urls", "request_id", "user_id"]), JSON, max_size=4)


async def test_no_json_breaks_a_service(someone: People) -> None:
    """Whatever JSON is sent, the answer is a post or a refusal that blames the request."""
    user = await someone()
    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None)
    @given(body=BODIES)
    def check(body: object) -> None:
        answer = asyncio.run_coroutine_threadsafe(user.post("/v1/posts", body), loop).result(timeout=10)
        assert answer.status == 200 or answer.refusal() in {INVALID, DENIED, EXISTS}, (body, answer)

    await asyncio.to_thread(check)


async def _count(user: Someone, count: int) -> bool:
    return len(await user.feed()) == count
