"""An issuer of user tokens for development: in production, an identity provider takes its place."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from meshkit.keys import load_or_create

_KEY_ID = "dev-1"


class Issuer:
    """A development issuer of user tokens: its key pair and JWKS live in a folder. Use your own identity provider in production."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, *, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    @classmethod
    def load_or_create(cls, folder: Path, *, issuer: str = DEFAULT_ISSUER, audience: str = DEFAULT_AUDIENCE) -> Self:
        """Open the issuer whose files (`issuer.pem`, `jwks.json`) are in a folder, and make them on first use."""
        fresh = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = serialization.load_pem_private_key(load_or_create(folder / "issuer.pem", fresh), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{folder / 'issuer.pem'} is not an elliptic-curve key")
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": _KEY_ID, "use": "sig", "alg": "ES256"}
        load_or_create(folder / "jwks.json", json.dumps({"keys": [public]}, indent=2).encode())
        return cls(key, issuer=issuer, audience=audience)

    def user_token(self, user_id: int, *, lifetime: timedelta = timedelta(days=1), scope: str = "") -> str:
        """Make a token that speaks for a user."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
        }
        if scope:
            claims["scope"] = scope
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": _KEY_ID})
