"""Identity: whose requests get through, and what a client cannot say of itself."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import OKPAlgorithm

from gateway import descriptors
from gateway.envoy import Gateway, run_envoy
from gateway.routes import Access, routes
from gateway.settings import GatewaySettings
from tests.gateway.rest import Rest
from tests.gateway.servicer import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

Sign = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def sign(folder: Path, gateway: Gateway) -> Sign:
    """Sign any claims with the issuer's own key."""
    assert gateway
    key = serialization.load_pem_private_key((folder / "issuer.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return lambda claims: jwt.encode(claims, key, algorithm="ES256", headers={"kid": "dev-1"})


def claims(**changed: object) -> dict[str, Any]:
    """Give good claims, but for those named; None leaves one out."""
    good: dict[str, object] = {"iss": "feedmesh-dev", "aud": "feedmesh", "sub": "7", "exp": int(time.time()) + 60}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


async def test_a_good_token_is_forwarded_unchanged(rest: Rest, upstream: Upstream, sign: Sign) -> None:
    """The service gets the very token that the gateway verified."""
    token = sign(claims())
    assert (await rest.call("GET", "/v1/posts/5", token=token)).status == 200
    assert upstream.metadata["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"nbf": int(time.time()) + 600},
        {"iss": "other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
    ],
)
async def test_a_token_with_wrong_claims_is_refused(rest: Rest, upstream: Upstream, sign: Sign, changed: dict[str, object]) -> None:
    """Expiry, issuer and audience must all be there and right, also where no token is needed."""
    token = sign(claims(**changed))
    upstream.method = ""
    assert (await rest.call("GET", "/v1/posts/5", token=token)).refusal() == (401, 16)
    assert (await rest.call("POST", "/v1/users", {"username": "bob"}, token=token)).refusal() == (401, 16)
    assert upstream.method == ""


async def test_a_token_that_the_issuer_did_not_sign_is_refused(rest: Rest, sign: Sign) -> None:
    """No signature, a changed payload, a shared-key algorithm, a strange key and an unknown key id are all refused."""
    header, payload, signature = sign(claims()).split(".")
    other = payload[:-4] + ("AAAA" if payload[-4:] != "AAAA" else "BBBB")
    strange = ec.generate_private_key(ec.SECP256R1())
    forged = [
        jwt.encode(claims(), "", algorithm="none"),
        jwt.encode(claims(), "", algorithm="none") + signature,
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.",
        jwt.encode(claims(), "x" * 32, algorithm="HS256", headers={"kid": "dev-1"}),
        jwt.encode(claims(), strange, algorithm="ES256", headers={"kid": "dev-1"}),
        jwt.encode(claims(), strange, algorithm="ES256", headers={"kid": "other"}),
        "nonsense",
    ]
    for token in forged:
        assert (await rest.call("GET", "/v1/posts/5", token=token)).refusal() == (401, 16), token


async def test_each_route_asks_for_a_token_as_its_contract_says(rest: Rest) -> None:
    """Without a token, every route for users answers 401, and every public one goes through."""
    for route in routes(descriptors.load()):
        path = route.template
        for variable in route.variables:
            path = path.replace(f"{{{variable}}}", "5")
        answer = await rest.call(route.verb, path, {} if route.body else None, token=None)
        assert answer.status == (401 if route.rpc.access is Access.USER else 200), route


async def test_a_token_in_the_query_is_not_a_token(rest: Rest) -> None:
    """Tokens are taken from the authorization header only."""
    assert (await rest.call("GET", f"/v1/posts/5?access_token={rest.token}", token=None)).refusal() == (401, 16)


async def test_headers_that_only_the_mesh_may_send_are_stripped(rest: Rest, upstream: Upstream) -> None:
    """No spelling of a service's or Envoy's own header reaches a service, and none changes what is called."""
    spoofed = {
        "x_feedmesh_service": "forged",
        "X_Feedmesh_User": "1",
        "x_envoy_upstream_rq_timeout_ms": "1",
        "x_envoy_original_path": "/forged",
        "x_http_method_override": "DELETE",
        "x_forwarded_for": "192.0.2.77",
    }
    assert (await rest.call("GET", "/v1/posts/5", **spoofed)).status == 200
    assert upstream.method == "GetPost"
    assert not [name for name in upstream.metadata if name.startswith("x-feedmesh")]
    assert not {"forged", "192.0.2.77", "1", "/forged", "DELETE"} & set(upstream.metadata.values())


async def test_headers_with_underscores_are_dropped(gateway: Gateway, rest: Rest, upstream: Upstream) -> None:
    """A name that some servers read as the dashed one does not reach a service."""
    answer = await raw(gateway, f"GET /v1/posts/5 HTTP/1.1\r\nauthorization: Bearer {rest.token}\r\nx_feedmesh_service: forged")
    assert answer.startswith("HTTP/1.1 200")
    assert "forged" not in upstream.metadata.values()


@pytest.mark.parametrize(
    "path",
    [
        "//v1//posts/5",
        "/v1/./posts/5",
        "/openapi.json/../v1/posts/5",
        "/v1/posts/%35",
        "/v1/posts/5;x=y",
        "/v1/posts/5%3Fx=y",
        "/v1/users%3Alookup?username=bob",
    ],
)
async def test_a_disguised_path_needs_a_token_all_the_same(rest: Rest, upstream: Upstream, path: str) -> None:
    """However a path is written, it is refused without a token or leads nowhere."""
    upstream.method = ""
    answer = await rest.call("GET", path, token=None)
    assert answer.refusal() in {(401, 16), (404, 5)}
    assert upstream.method == ""


@pytest.mark.parametrize("path", ["/v1%2Fposts/5", "/v1/posts/..%2f5", "/v1/posts%5C5", "/v1/posts/5%00"])
async def test_a_path_with_an_escaped_slash_or_nul_is_refused(rest: Rest, path: str) -> None:
    """Paths that two servers could read differently are 400."""
    assert (await rest.call("GET", path)).refusal()[0] in {400, 404}


async def test_services_only_methods_are_not_there(rest: Rest, upstream: Upstream) -> None:
    """Neither JSON nor a user's token opens a method without a route."""
    upstream.method = ""
    for path in (
        "/feed.post.v1.PostService/LookupPosts",
        "/feed.timeline.v1.TimelineService/PushEntries",
        "/feed.post.v1.PostService/GetPost",
    ):
        assert (await rest.call("POST", path, {})).refusal() == (404, 5)
    assert upstream.method == ""


async def test_browsers_of_listed_origins_may_call(rest: Rest) -> None:
    """A preflight from an origin on the list is allowed, from another it is not; answers name the origin."""
    ask = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    allowed = await rest.call("OPTIONS", "/v1/posts", token=None, origin="http://app.test", **ask)
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "http://app.test"
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    refused = await rest.call("OPTIONS", "/v1/posts", token=None, origin="http://app.test.evil.test", **ask)
    assert refused.refusal() == (405, 12)
    assert "access-control-allow-origin" not in refused.headers
    answer = await rest.call("GET", "/v1/posts/5", token=None, origin="http://app.test")
    assert answer.headers["access-control-allow-origin"] == "http://app.test"


@pytest.mark.parametrize(
    "request_head",
    [
        "NONSENSE",
        "FOO /v1/posts HTTP/1.1",
        "GET /v1/posts/\x01 HTTP/1.1",
        "POST /v1/posts HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
    ],
)
async def test_what_is_not_http_gets_a_json_answer_too(gateway: Gateway, request_head: str) -> None:
    """A request that cannot be parsed, or could be smuggled, is a 400 in the usual form."""
    answer = await raw(gateway, request_head)
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400")
    assert json.loads(body)["code"] == 3


async def raw(gateway: Gateway, head: str) -> str:
    """Send a head as it is and read to the end."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}\r\nhost: gateway\r\nconnection: close\r\n\r\n".encode())
    try:
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    finally:
        writer.close()


async def test_ed25519_tokens_are_good(settings: GatewaySettings, tmp_path: Path) -> None:
    """A token signed with EdDSA by a key of the file is good; the same claims by another such key are not."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "ed", "use": "sig", "alg": "EdDSA"}
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [public]}))
    bound = settings.model_copy(update={"jwks_file": jwks})
    async with run_envoy(bound, tmp_path / "gateway") as gateway, aiohttp.ClientSession() as session:
        for signer, status in ((key, 200), (ed25519.Ed25519PrivateKey.generate(), 401)):
            token = jwt.encode(claims(), signer, algorithm="EdDSA", headers={"kid": "ed"})
            answer = await Rest(gateway.url, session, token).call("GET", "/v1/posts/5")
            assert answer.status == status
