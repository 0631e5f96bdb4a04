"""Who is calling: user tokens (JWT, asymmetric) and tokens between services (JWT, shared key).

A service believes nothing but a token's signature: whatever a proxy in front has checked is checked again.
"""

import contextlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import msgspec
import structlog

from meshkit.errors import PermissionDeniedError, UnauthenticatedError, UnavailableError
from meshkit.ids import MAX_ID

DEFAULT_ISSUER = "feedmesh-dev"
DEFAULT_AUDIENCE = "feedmesh"
_ALGORITHMS = ("ES256", "EdDSA")
_CACHED_TOKENS = 20_000
_SERVICE_AUDIENCE = "feedmesh-services"
_SERVICE_LIFETIME_S = 300
_MAX_DIGITS = len(str(MAX_ID))

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a user, a service of the mesh, or nobody known (neither)."""

    user_id: int = 0
    service: str = ""
    scopes: frozenset[str] = frozenset()

    def acts_as(self, user_id: int, field: str = "user_id") -> int:
        """Give the caller's user id. A request may name the user too (0: it does not), but only truly.

        Raises:
            PermissionDeniedError: the request names somebody else, or the caller is no user.

        """
        if not self.user_id:
            raise PermissionDeniedError("only a user may do this: send a user token", reason="NOT_A_USER")
        if user_id not in (0, self.user_id):
            raise PermissionDeniedError(
                f"{field} is not the caller: leave it out, or use that user's token",
                reason="NOT_THE_CALLER",
                fields={field: "is not you"},
            )
        return self.user_id


class UserTokens:
    """Verifies user tokens against a JWKS file. Keys that come or go there hold within a second.

    A token must be signed with ES256 or EdDSA and carry `iss`, `aud`, `exp` and a decimal user id as `sub`; `scope` is optional.
    """

    def __init__(self, jwks: Path, *, issuer: str, audience: str) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._changed_at_ns = 0
        self._look_again_at = 0.0
        self._keys: dict[str, jwt.PyJWK] = {}
        self._verified: OrderedDict[str, tuple[Caller, float]] = OrderedDict()

    def verify(self, token: str) -> Caller:
        """Tell who a token speaks for.

        Raises:
            UnauthenticatedError: the token is not valid, or no longer.

        """
        self._follow_file()
        known = self._verified.get(token)
        if known and known[1] > time.time():
            return known[0]
        claims = self._claims(token)
        caller = Caller(user_id=_user_id(claims["sub"]), scopes=frozenset(str(claims.get("scope", "")).split()))
        return _remember(self._verified, token, caller, claims)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid", ""))
            return jwt.decode(
                token,
                key,
                algorithms=list(_ALGORITHMS),
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("the token has expired: get a new one", reason="TOKEN_EXPIRED") from None
        except jwt.PyJWTError:
            raise _invalid_token() from None

    def _key(self, key_id: str) -> jwt.PyJWK:
        if key_id not in self._keys:
            raise _invalid_token()
        return self._keys[key_id]

    def _follow_file(self) -> None:
        """Read the keys again when the file has changed; what was verified with the old ones is forgotten."""
        now = time.monotonic()
        if now < self._look_again_at:
            return
        try:
            changed_at_ns = self._jwks.stat().st_mtime_ns
            if changed_at_ns != self._changed_at_ns:
                self._keys = _signing_keys(self._jwks.read_text())
                self._verified.clear()
                self._changed_at_ns = changed_at_ns
            self._look_again_at = now + 1.0
        except (OSError, ValueError) as error:
            if not self._keys:
                raise UnavailableError("tokens cannot be verified now; try again", reason="NO_VERIFICATION_KEYS") from error
            self._look_again_at = now + 1.0
            _log.exception("the JWKS file cannot be read: the keys that it held before stay good", file=str(self._jwks))


class ServiceTokens:
    """Makes and verifies the tokens by which the mesh's services know each other. All services share the key."""

    def __init__(self, key: bytes, service: str) -> None:
        self._key = key
        self._service = service
        self._token = ""
        self._renew_at = 0.0
        self._verified: OrderedDict[str, tuple[Caller, float]] = OrderedDict()

    def mint(self) -> str:
        """Give a token that speaks for this service; it is good for at least four minutes."""
        now = time.time()
        if now >= self._renew_at:
            claims = {"sub": self._service, "aud": _SERVICE_AUDIENCE, "exp": int(now) + _SERVICE_LIFETIME_S}
            self._token = jwt.encode(claims, self._key, algorithm="HS256")
            self._renew_at = now + _SERVICE_LIFETIME_S / 5
        return self._token

    def verify(self, token: str) -> Caller:
        """Tell which service a token speaks for.

        Raises:
            UnauthenticatedError: the token is not valid, or no longer.

        """
        known = self._verified.get(token)
        if known and known[1] > time.time():
            return known[0]
        try:
            claims = jwt.decode(
                token, self._key, algorithms=["HS256"], audience=_SERVICE_AUDIENCE, options={"require": ["exp", "sub"]}
            )
        except jwt.PyJWTError:
            raise UnauthenticatedError("the service token is not valid", reason="INVALID_SERVICE_TOKEN") from None
        return _remember(self._verified, token, Caller(service=str(claims["sub"])), claims)


def _remember(verified: OrderedDict[str, tuple[Caller, float]], token: str, caller: Caller, claims: dict[str, Any]) -> Caller:
    """Keep who a verified token speaks for, as long as it is good: checking a signature costs more than many a call."""
    verified[token] = (caller, float(claims["exp"]))
    if len(verified) > _CACHED_TOKENS:
        verified.popitem(last=False)
    return caller


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _signing_keys(jwks: str) -> dict[str, jwt.PyJWK]:
    """Give the keys of a JWKS by their ids. Those of other kinds, and those without an id, are not for us."""
    try:
        found = msgspec.json.decode(jwks, type=_KeySet).keys
    except msgspec.DecodeError as error:
        raise ValueError("not a JWKS") from error
    keys: dict[str, jwt.PyJWK] = {}
    for key in found:
        if isinstance(key.get("kid"), str) and key.get("use", "sig") == "sig":
            with contextlib.suppress(jwt.PyJWTError):
                keys[key["kid"]] = jwt.PyJWK(key)
    return keys


def _user_id(subject: str) -> int:
    if len(subject) <= _MAX_DIGITS and subject.isascii() and subject.isdecimal() and 0 < int(subject) <= MAX_ID:
        return int(subject)
    raise UnauthenticatedError("the token's sub is not a user id", reason="INVALID_TOKEN")


def _invalid_token() -> UnauthenticatedError:
    return UnauthenticatedError("the token is not valid here: check its issuer, audience and signature", reason="INVALID_TOKEN")
