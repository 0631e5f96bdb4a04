"""Signed upload URLs of the file engine: who makes them and who checks them share a key."""

import hmac
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NamedTuple

from meshkit.media.port import Stored

_EXPIRES, _SIZE, _TYPE, _SIGNATURE = "expires", "size", "type", "signature"
_LONGEST_NUMBER = 15


class SignatureError(Exception):
    """The URL is not one that was signed, or no longer."""


class Permit(NamedTuple):
    """What a signed URL allows: one PUT to the key, of exactly this, that begins before a Unix time in seconds."""

    key: str
    expected: Stored
    expires: int


class UploadSigner:
    """Signs permits with HMAC-SHA256, and reads them back from a URL's query. `clock` gives Unix seconds."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def sign(self, key: str, expected: Stored, seconds: int) -> dict[str, str]:
        """Give the query of a URL that works for some seconds."""
        permit = Permit(key, expected, int(self._clock()) + seconds)
        return {
            _EXPIRES: str(permit.expires),
            _SIZE: str(expected.size),
            _TYPE: expected.content_type,
            _SIGNATURE: self._signature(permit),
        }

    def verify(self, key: str, query: Mapping[str, str]) -> Permit:
        """Tell what a URL with this key and query allows.

        Raises:
            SignatureError: it was not signed like this, or its time is over.

        """
        expected = Stored(query.get(_TYPE, ""), _number(query.get(_SIZE, "")))
        permit = Permit(key, expected, _number(query.get(_EXPIRES, "")))
        given = query.get(_SIGNATURE, "").encode(errors="replace")
        if not hmac.compare_digest(self._signature(permit).encode(), given):
            raise SignatureError("the URL's signature is wrong: use the URL exactly as it was given")
        if permit.expires <= self._clock():
            raise SignatureError("the URL is no longer valid: announce the upload again")
        return permit

    def _signature(self, permit: Permit) -> str:
        # None of the parts can hold a line break, so that no two permits make one text.
        text = "\n".join(("PUT", permit.key, permit.expected.content_type, str(permit.expected.size), str(permit.expires)))
        return hmac.new(self._secret, text.encode(errors="replace"), sha256).hexdigest()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else -1
