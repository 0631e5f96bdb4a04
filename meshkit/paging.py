"""Pages as in AIP-158: sizes that are made to fit, and tokens that are opaque, signed and bound to what they page through."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import blake2b

from meshkit.errors import InvalidArgumentError, invalid_field

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
_SIGNATURE_BYTES = 16


def page_size(requested: int) -> int:
    """Give the page size to use: 0 means 20, more than 100 means 100, and a negative one is an error."""
    if requested < 0:
        raise invalid_field("page_size", "must not be negative")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class PageTokens:
    """Signs and opens page tokens. A token never expires; it opens only for the scope (viewer and query) it was made for.

    The first key signs; all keys open, so that keys can be changed without breaking the tokens that are out.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        # BLAKE2 takes no longer keys. It signs in a quarter of the time that OpenSSL's HMAC takes.
        self._keys = tuple(key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest() for key in keys)

    def sign(self, scope: str, position: bytes | None) -> str:
        """Make the token that goes on after a position, or the empty one for None, which is the end."""
        if position is None:
            return ""
        return _encoded(_signature(self._keys[0], scope, position) + position)

    def open(self, scope: str, token: str) -> bytes | None:
        """Give a token's position, or None for the empty token, which asks for the first page.

        Raises:
            InvalidArgumentError: the token was not made here, or for another viewer or query.

        """
        if not token:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _unusable() from None
        if _encoded(raw) != token:
            raise _unusable()
        signature, position = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _signature(key, scope, position)) for key in self._keys):
            raise _unusable()
        return position


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signature(key: bytes, scope: str, position: bytes) -> bytes:
    return blake2b(scope.encode() + b"\0" + position, key=key, digest_size=_SIGNATURE_BYTES).digest()


def _unusable() -> InvalidArgumentError:
    problem = "is not one that this query returned to you; start again without it"
    return InvalidArgumentError(f"page_token {problem}", reason="INVALID_PAGE_TOKEN", fields={"page_token": problem})
