"""Who may call what: tokens of users and services, right and wrong."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from feed.graph.v1 import follow_service_pb2, user_service_pb2
from feed.post.v1 import post_service_pb2
from feed.rules.v1 import rules_pb2

import graph_svc.__main__ as graph
import post_svc.__main__ as post
from meshkit.auth import ServiceTokens
from meshkit.issuer import Issuer
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from tests.rpc.client import Metadata, Stubs, Tokens, raw, refused

CODE = grpc.StatusCode
USER = 7
PUBLIC = {"CreateUser"}
INTERNAL = {
    "ListFollowerRange",
    "ListFirstFollowers",
    "ListFolloweeIds",
    "ListLeftAuthors",
    "ListVisibleAuthors",
    "GetRelation",
    "LookupPosts",
    "DescribePost",
    "ListAuthorEntries",
    "GetAuthorDelivery",
    "SetAuthorDelivery",
    "FinishTurn",
    "ListAuthorDeliveries",
}
METHODS = [method for service in (*graph.DESCRIPTORS, *post.DESCRIPTORS) for method in service.methods]


def part(value: object) -> str:
    """Encode one part of a JWT."""
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def claims(**changes: object) -> dict[str, Any]:
    """Give good claims with some changed, or removed with None."""
    good: dict[str, Any] = {"iss": "feedmesh-dev", "aud": "feedmesh", "sub": str(USER), "exp": int(time.time()) + 600}
    return {name: value for name, value in (good | changes).items() if value is not None}


def private_key(tokens: Tokens) -> ec.EllipticCurvePrivateKey:
    """Give the issuer's private key, which is made on first use."""
    assert tokens.issuer
    key = serialization.load_pem_private_key((tokens.settings.keys_dir / "issuer.pem").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def signed(tokens: Tokens, *, kid: str | None = "dev-1", **changes: object) -> str:
    """Sign claims with the issuer's own key."""
    return jwt.encode(claims(**changes), private_key(tokens), algorithm="ES256", headers={"kid": kid} if kid else None)


def unsigned(_tokens: Tokens) -> str:
    """Make a token with the algorithm none."""
    return f"{part({'alg': 'none', 'kid': 'dev-1', 'typ': 'JWT'})}.{part(claims())}."


def signed_by_public_key(tokens: Tokens) -> str:
    """Make the classic confusion: HS256 with the public key, which everybody knows, as the secret."""
    public = private_key(tokens).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = f"{part({'alg': 'HS256', 'kid': 'dev-1', 'typ': 'JWT'})}.{part(claims())}"
    return f"{text}.{urlsafe_b64encode(hmac.digest(pem, text.encode(), hashlib.sha256)).rstrip(b'=').decode()}"


def signed_by_another(_tokens: Tokens) -> str:
    """Sign with a key of one's own under the right key id."""
    return jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "dev-1"})


def with_claims_changed(tokens: Tokens) -> str:
    """Change who a good token speaks for."""
    header, _, signature = signed(tokens).split(".")
    return f"{header}.{part(claims(sub='8'))}.{signature}"


def service_token_as_user(tokens: Tokens) -> str:
    """Send a service's token where a user's belongs."""
    return tokens.settings.service_tokens("timeline").mint()


WRONG: dict[str, Callable[[Tokens], str]] = {
    "alg none": unsigned,
    "HS256 by the public key": signed_by_public_key,
    "another key": signed_by_another,
    "claims changed": with_claims_changed,
    "a service's token": service_token_as_user,
    "wrong issuer": lambda tokens: signed(tokens, iss="somebody"),
    "wrong audience": lambda tokens: signed(tokens, aud="feedmesh-services"),
    "no exp": lambda tokens: signed(tokens, exp=None),
    "no iss": lambda tokens: signed(tokens, iss=None),
    "no aud": lambda tokens: signed(tokens, aud=None),
    "no sub": lambda tokens: signed(tokens, sub=None),
    "not yet": lambda tokens: signed(tokens, nbf=int(time.time()) + 600),
    "unknown kid": lambda tokens: signed(tokens, kid="dev-2"),
    "no kid": lambda tokens: signed(tokens, kid=None),
    "exp not a number": lambda tokens: signed(tokens, exp="never"),
    **{
        f"sub {sub!r}": lambda tokens, sub=sub: signed(tokens, sub=sub)  # type: ignore[misc]
        for sub in ("ada", "", "0", "-1", "1.5", "1e3", " 7", "\u0667", "²", str(2**64), "7\n")
    },
    "not a token": lambda _tokens: "not-a-token",
    "two parts": lambda _tokens: "a.b",
    "empty parts": lambda _tokens: "..",
}


async def get_user(connected: Stubs, metadata: Metadata) -> None:
    """Call a method for users; it finds nobody."""
    await connected.users.GetUser(user_service_pb2.GetUserRequest(user_id=1), metadata=metadata)


def test_the_contract_says_who_may_call() -> None:
    """Exactly CreateUser is public, exactly the four reads for services are internal, all others are for users."""
    kinds = {method.name: method.GetOptions().Extensions[rules_pb2.access] for method in METHODS}
    assert {name for name, kind in kinds.items() if kind == rules_pb2.ACCESS_PUBLIC} == PUBLIC
    assert {name for name, kind in kinds.items() if kind == rules_pb2.ACCESS_UNSPECIFIED} == INTERNAL


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_every_method_keeps_its_door(graph_stubs: Stubs, post_stubs: Stubs, tokens: Tokens, method: Any) -> None:  # noqa: ANN401
    """Nobody gets into a method but a public one, no user into an internal one, and no wrong token in anywhere."""
    connected = post_stubs if method.containing_service.file.package == "feed.post.v1" else graph_stubs
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = raw(connected, path)
    if method.name not in PUBLIC:
        with refused(CODE.UNAUTHENTICATED, "TOKEN_MISSING"):
            await call(b"")
    if method.name in INTERNAL:
        with refused(CODE.PERMISSION_DENIED, "SERVICES_ONLY"):
            await call(b"", metadata=tokens.user(USER, scope="users.create admin"))
    with refused(CODE.UNAUTHENTICATED, "INVALID_TOKEN"):
        await call(b"", metadata=(("authorization", "Bearer wrong"),))
    with refused(CODE.UNAUTHENTICATED, "INVALID_SERVICE_TOKEN"):
        await call(b"", metadata=((SERVICE_TOKEN_METADATA, "wrong"), *tokens.user(USER)))


async def test_the_public_method_needs_no_token(graph_stubs: Stubs, tokens: Tokens) -> None:
    """An account can be made by nobody known, by a user and by a service."""
    for number, metadata in enumerate(((), tokens.user(USER), tokens.service())):
        request = user_service_pb2.CreateUserRequest(username=f"user_{number}")
        assert (await graph_stubs.users.CreateUser(request, metadata=metadata)).user.user_id


async def test_services_call_the_internal_methods(graph_stubs: Stubs, post_stubs: Stubs, tokens: Tokens) -> None:
    """A service token opens the internal methods of every service that shares the key."""
    service = tokens.service("fanout")
    calls = graph_stubs.follows, post_stubs.posts
    assert await calls[0].ListFolloweeIds(follow_service_pb2.ListFolloweeIdsRequest(user_id=1), metadata=service) is not None
    assert await calls[1].LookupPosts(post_service_pb2.LookupPostsRequest(), metadata=service) is not None


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_tokens_are_refused(graph_stubs: Stubs, tokens: Tokens, wrong: str) -> None:
    """A token that is not exactly right is UNAUTHENTICATED, for users' methods and the public one, which then does nothing."""
    metadata = (("authorization", f"Bearer {WRONG[wrong](tokens)}"),)
    with refused(CODE.UNAUTHENTICATED, "INVALID_TOKEN"):
        await get_user(graph_stubs, metadata)
    with refused(CODE.UNAUTHENTICATED, "INVALID_TOKEN"):
        await graph_stubs.users.CreateUser(user_service_pb2.CreateUserRequest(username="made"), metadata=metadata)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "username"):
        await graph_stubs.users.LookupUser(user_service_pb2.LookupUserRequest(username="made"), metadata=tokens.user(USER))


async def test_an_expired_token_says_so(graph_stubs: Stubs, tokens: Tokens) -> None:
    """A token past its exp is UNAUTHENTICATED with a reason of its own, so that an app knows to renew it."""
    with refused(CODE.UNAUTHENTICATED, "TOKEN_EXPIRED"):
        await get_user(graph_stubs, tokens.user(USER, lifetime=timedelta(seconds=-1)))


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic dTpw", "token"])
async def test_anything_but_a_bearer_token_is_refused(graph_stubs: Stubs, value: str) -> None:
    """Another scheme or one without a token is UNAUTHENTICATED and says what to send; nothing at all where one is needed."""
    with refused(CODE.UNAUTHENTICATED, "TOKEN_MISSING"):
        await get_user(graph_stubs, (("authorization", value),))
    if value:
        with refused(CODE.UNAUTHENTICATED, "TOKEN_MISSING"):
            request = user_service_pb2.CreateUserRequest(username="made")
            await graph_stubs.users.CreateUser(request, metadata=(("authorization", value),))


async def test_the_scheme_has_no_case(graph_stubs: Stubs, tokens: Tokens) -> None:
    """`bearer` and `BEARER` are the same scheme (RFC 9110)."""
    ((_, value),) = tokens.user(USER)
    for scheme in ("bearer", "BEARER"):
        with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "user_id"):
            await get_user(graph_stubs, (("authorization", value.replace("Bearer", scheme)),))


async def test_spoofed_service_tokens_are_refused(graph_stubs: Stubs, tokens: Tokens) -> None:
    """A service token by another key, of the algorithm none, expired, for another audience, or a user's is UNAUTHENTICATED."""
    key = (tokens.settings.keys_dir / "service.key").read_bytes()
    good = {"sub": "timeline", "aud": "feedmesh-services", "exp": int(time.time()) + 60}
    header = {"alg": "none", "typ": "JWT"}
    request = follow_service_pb2.ListFolloweeIdsRequest(user_id=1)
    for spoof in (
        ServiceTokens(b"x" * 32, "timeline").mint(),
        f"{part(header)}.{part(good)}.",
        jwt.encode(good | {"exp": int(time.time()) - 1}, key, algorithm="HS256"),
        jwt.encode(good | {"aud": "feedmesh"}, key, algorithm="HS256"),
        jwt.encode({"sub": "timeline", "aud": "feedmesh-services"}, key, algorithm="HS256"),
        tokens.issuer.user_token(USER),
        "timeline",
        "",
    ):
        with refused(CODE.UNAUTHENTICATED, "INVALID_SERVICE_TOKEN"):
            await graph_stubs.follows.ListFolloweeIds(request, metadata=((SERVICE_TOKEN_METADATA, spoof),))
        with refused(CODE.UNAUTHENTICATED, "INVALID_SERVICE_TOKEN"):
            await get_user(graph_stubs, ((SERVICE_TOKEN_METADATA, spoof), *tokens.user(USER)))


async def test_other_identity_headers_mean_nothing(graph_stubs: Stubs) -> None:
    """What a proxy might have set about the caller does not replace a token."""
    spoofed = tuple((name, str(USER)) for name in ("x-user-id", "x-feedmesh-user", "x-jwt-payload", "x-forwarded-user"))
    with refused(CODE.UNAUTHENTICATED, "TOKEN_MISSING"):
        await get_user(graph_stubs, spoofed)


async def test_tokens_of_another_mesh_are_refused(graph_stubs: Stubs, tmp_path: Path) -> None:
    """A development issuer in another folder has another key, under the same key id."""
    token = Issuer.load_or_create(tmp_path / "elsewhere").user_token(USER)
    with refused(CODE.UNAUTHENTICATED, "INVALID_TOKEN"):
        await get_user(graph_stubs, (("authorization", f"Bearer {token}"),))
