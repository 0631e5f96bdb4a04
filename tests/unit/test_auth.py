"""Tokens of users and services, and the development issuer."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs

from meshkit.auth import Caller, ServiceTokens, UserTokens
from meshkit.errors import FeedmeshError, PermissionDeniedError, UnauthenticatedError, UnavailableError
from meshkit.issuer import Issuer

ISSUER, AUDIENCE = "https://issuer.test", "app"
Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class Provider:
    """An identity provider with keys of any kind, and its JWKS file."""

    def __init__(self, jwks: Path) -> None:
        self.jwks = jwks
        self.keys: dict[str, Private] = {}
        self._published = 0

    def add(self, kid: str, key: Private) -> None:
        """Make a key known to the provider."""
        self.keys[kid] = key

    def publish(self, *kids: str) -> None:
        """Write the JWKS with some of the keys; the file's time always changes."""
        self.jwks.write_text(json.dumps({"keys": [_public(kid, self.keys[kid]) for kid in kids]}))
        self._published += 1
        os.utime(self.jwks, ns=(self._published, self._published))

    def token(self, kid: str = "a", **changes: Any) -> str:  # noqa: ANN401
        """Sign a token for user 7, with some claims changed, or removed with None."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "exp": int(time.time()) + 60} | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, self.keys[kid], algorithm=_algorithm(self.keys[kid]), headers={"kid": kid})

    def verifier(self) -> UserTokens:
        """Make a verifier that knows the provider by its file only."""
        return UserTokens(self.jwks, issuer=ISSUER, audience=AUDIENCE)


def _algorithm(key: Private) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return "ES256"
    return "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "RS256"


def _public(kid: str, key: Private) -> dict[str, Any]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid}
    return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid}


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    """Give a provider that has published its key `a`."""
    made = Provider(tmp_path / "jwks.json")
    made.add("a", ec.generate_private_key(ec.SECP256R1()))
    made.publish("a")
    return made


def reason_of(tokens: UserTokens | ServiceTokens, token: str) -> str:
    """Give the reason for which a token is refused."""
    with pytest.raises(FeedmeshError) as caught:
        tokens.verify(token)
    return caught.value.reason


def test_a_token_tells_user_and_scopes(provider: Provider) -> None:
    """The caller is the sub; scopes are the words of `scope`; a user is no service."""
    tokens = provider.verifier()
    assert tokens.verify(provider.token()) == Caller(user_id=7)
    scoped = tokens.verify(provider.token(sub=str(2**64 - 1), scope="users.create  openid"))
    assert scoped == Caller(user_id=2**64 - 1, scopes=frozenset({"users.create", "openid"}))
    assert tokens.verify(provider.token(aud=["other", AUDIENCE])).user_id == 7


def test_a_second_look_gives_the_same_answer(provider: Provider) -> None:
    """A token that was verified before, and now comes from the cache, speaks for the same user; another one does not."""
    tokens = provider.verifier()
    first, second = provider.token(), provider.token(sub="8")
    for _ in range(3):
        assert tokens.verify(first).user_id == 7
        assert tokens.verify(second).user_id == 8
    changed = first[:-6] + ("AAAAAA" if first[-6:] != "AAAAAA" else "BBBBBB")
    assert reason_of(tokens, changed) == "INVALID_TOKEN"


async def test_cached_tokens_expire_all_the_same(provider: Provider) -> None:
    """A token of a user or a service is refused when its time is over, also when it was verified before."""
    key, expires = b"k" * 32, int(time.time()) + 2
    users, services = provider.verifier(), ServiceTokens(key, "post")
    user = provider.token(exp=expires)
    service = jwt.encode({"sub": "graph", "aud": "feedmesh-services", "exp": expires}, key, algorithm="HS256")
    assert (users.verify(user), services.verify(service)) == (Caller(user_id=7), Caller(service="graph"))
    async with asyncio.timeout(10):
        while time.time() < expires:  # noqa: ASYNC110 - only the clock can end this
            await asyncio.sleep(0.01)
    assert reason_of(users, user) == "TOKEN_EXPIRED"
    assert reason_of(services, service) == "INVALID_SERVICE_TOKEN"


def test_what_is_remembered_is_bounded(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens come, no more than the bound are kept, and those that were dropped are verified anew."""
    monkeypatch.setattr("meshkit.auth._CACHED_TOKENS", 3)
    tokens = provider.verifier()
    all_of_them = [provider.token(sub=str(user)) for user in range(1, 11)]
    for _ in range(2):
        assert [tokens.verify(token).user_id for token in all_of_them] == list(range(1, 11))
    assert len(tokens._verified) == 3  # noqa: SLF001 - memory cannot be seen from outside


async def follows(holds: Callable[[], bool]) -> None:
    """Wait until a change of the keys holds, which has to be within about a second."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - nobody tells that the file was looked at
            await asyncio.sleep(0.01)


def verifies(tokens: UserTokens, token: str) -> bool:
    """Tell whether a token is good."""
    try:
        tokens.verify(token)
    except UnauthenticatedError:
        return False
    return True


async def test_keys_that_come_and_go_are_followed(provider: Provider) -> None:
    """A new key works without a restart; a key that is withdrawn does not work any more, nor what was verified with it before."""
    tokens, old = provider.verifier(), provider.token("a")
    provider.add("b", ec.generate_private_key(ec.SECP256R1()))
    new = provider.token("b")
    assert verifies(tokens, old)
    assert not verifies(tokens, new)
    provider.publish("a", "b")
    await follows(lambda: verifies(tokens, new))
    assert verifies(tokens, old)
    provider.publish("b")
    await follows(lambda: not verifies(tokens, old))
    assert verifies(tokens, new)


def test_the_same_key_id_with_another_key_is_refused(provider: Provider, tmp_path: Path) -> None:
    """A key id proves nothing: the signature does."""
    other = Provider(tmp_path / "other.json")
    other.add("a", ec.generate_private_key(ec.SECP256R1()))
    assert reason_of(provider.verifier(), other.token()) == "INVALID_TOKEN"


def test_eddsa_is_good_and_rs256_is_not(provider: Provider) -> None:
    """Ed25519 keys of the file verify; an RSA key does not, though it is in the file."""
    provider.add("ed", ed25519.Ed25519PrivateKey.generate())
    provider.add("rsa", rsa.generate_private_key(65537, 2048))
    provider.publish("ed", "rsa")
    tokens = provider.verifier()
    assert tokens.verify(provider.token("ed")).user_id == 7
    assert reason_of(tokens, provider.token("rsa")) == "INVALID_TOKEN"


@pytest.mark.parametrize("content", [None, "", "{", "{}", "\xff", "[]", "null", '"text"', '{"keys": 7}', '{"keys": [7]}'])
def test_without_keys_nothing_can_be_verified(provider: Provider, content: str | None) -> None:
    """A file that is missing or is no JWKS is UNAVAILABLE, without its path, until it is mended."""
    provider.jwks.unlink()
    if content is not None:
        provider.jwks.write_text(content)
    tokens = provider.verifier()
    with pytest.raises(UnavailableError) as caught:
        tokens.verify(provider.token())
    assert caught.value.reason == "NO_VERIFICATION_KEYS"
    assert str(provider.jwks) not in caught.value.message
    provider.publish("a")
    assert tokens.verify(provider.token()).user_id == 7


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "x", "n": "sXch", "e": "AQAB"},
        {"kty": "XYZ", "kid": "x"},
        {"kty": "RSA", "n": "sXch", "e": "AQAB"},
    ],
    ids=["for encryption", "of an unknown type", "without an id"],
)
def test_other_keys_in_the_file_do_not_matter(provider: Provider, other: dict[str, str]) -> None:
    """Identity providers publish keys for other ends beside ours (RFC 7517, 5: ignore those): ours still verify."""
    keys = json.loads(provider.jwks.read_text())["keys"]
    provider.jwks.write_text(json.dumps({"keys": [other, *keys]}))
    assert provider.verifier().verify(provider.token()).user_id == 7


async def test_good_keys_outlive_a_broken_file(provider: Provider) -> None:
    """A verifier that has keys goes on with them while the file is being written or broken."""
    tokens = provider.verifier()
    tokens.verify(provider.token())
    provider.jwks.write_text("{")
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            while not logs:  # it says so when it has looked at the file
                assert tokens.verify(provider.token(sub="8")).user_id == 8
                await asyncio.sleep(0)
    assert tokens.verify(provider.token(sub="9")).user_id == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "9" * 5_000},
        {"exp": float("inf")},
        {"exp": None},
        {"sub": None},
        {"iat": "never"},
        {"nbf": float("inf")},
    ],
    ids=",".join,
)
def test_odd_claims_are_refused(provider: Provider, changes: dict[str, Any]) -> None:
    """Claims that make no sense are a wrong token, however well signed, and nothing worse."""
    with pytest.raises(UnauthenticatedError):
        provider.verifier().verify(provider.token(**changes))


def test_a_request_may_name_its_caller_only_truly() -> None:
    """No id in a request means the caller; the caller's id is fine; anybody else's is PERMISSION_DENIED and names the field."""
    caller = Caller(user_id=7)
    assert caller.acts_as(0) == caller.acts_as(7) == 7
    with pytest.raises(PermissionDeniedError) as caught:
        caller.acts_as(8, "follower_id")
    assert (caught.value.reason, set(caught.value.fields)) == ("NOT_THE_CALLER", {"follower_id"})


def test_services_know_each_other_by_their_key() -> None:
    """A token of one service verifies at another with the same key, and at none with another key."""
    graph, post, stranger = ServiceTokens(b"k" * 32, "graph"), ServiceTokens(b"k" * 32, "post"), ServiceTokens(b"o" * 32, "post")
    assert post.verify(graph.mint()) == graph.verify(graph.mint()) == Caller(service="graph")
    assert reason_of(stranger, graph.mint()) == "INVALID_SERVICE_TOKEN"
    assert reason_of(graph, "") == "INVALID_SERVICE_TOKEN"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let a test set the time that tokens are made by."""
    now = [time.time()]
    monkeypatch.setattr("meshkit.auth.time.time", lambda: now[0])
    return now


def test_service_tokens_are_renewed_in_time(clock: list[float]) -> None:
    """A minted token is reused for a while, and whatever is minted is always good for four minutes more."""
    tokens = ServiceTokens(b"k" * 32, "graph")
    first = tokens.mint()
    clock[0] += 30
    assert tokens.mint() == first
    for _ in range(40):
        clock[0] += 11
        claims = jwt.decode(tokens.mint(), options={"verify_signature": False})
        assert claims["exp"] - clock[0] >= 239  # exp is in whole seconds
    assert tokens.mint() != first


def test_service_tokens_expire(clock: list[float]) -> None:
    """A service token that was made more than five minutes ago is refused."""
    clock[0] -= 299
    old = ServiceTokens(b"k" * 32, "graph").mint()
    clock[0] -= 2
    expired = ServiceTokens(b"k" * 32, "graph").mint()
    clock[0] += 301
    tokens = ServiceTokens(b"k" * 32, "post")
    assert reason_of(tokens, expired) == "INVALID_SERVICE_TOKEN"
    assert tokens.verify(old).service == "graph"


def test_the_development_issuer_stays_the_same(tmp_path: Path) -> None:
    """Opened again, the issuer has the same key: its tokens verify with the file it wrote first, and not with another folder's."""
    tokens = UserTokens(tmp_path / "one" / "jwks.json", issuer="i", audience="a")
    for _ in range(2):
        issuer = Issuer.load_or_create(tmp_path / "one", issuer="i", audience="a")
        assert tokens.verify(issuer.user_token(7, scope="users.create")) == Caller(7, scopes=frozenset({"users.create"}))
    stranger = Issuer.load_or_create(tmp_path / "two", issuer="i", audience="a")
    assert reason_of(tokens, stranger.user_token(7)) == "INVALID_TOKEN"
    assert reason_of(tokens, issuer.user_token(7, lifetime=timedelta(seconds=-1))) == "TOKEN_EXPIRED"


def test_the_jwks_file_tells_no_secret(tmp_path: Path) -> None:
    """What is published is the public key only, and an issuer's key file of another kind is refused."""
    Issuer.load_or_create(tmp_path)
    (key,) = json.loads((tmp_path / "jwks.json").read_text())["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (tmp_path / "issuer.pem").stat().st_mode & 0o777 == 0o600
