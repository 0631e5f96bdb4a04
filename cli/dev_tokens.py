"""User tokens from the development issuer of a mesh on this machine."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from meshkit.ids import MAX_ID
from meshkit.issuer import Issuer


class TokenError(Exception):
    """No token can be made; the message says why."""


def minter(data_dir: Path, *, lifetime: timedelta) -> Callable[[int], str]:
    """Give a function that makes a token for a user id.

    Raises:
        TokenError: the mesh of this data folder was never started.

    """
    keys = data_dir / "keys"
    if not (keys / "issuer.pem").exists():
        raise TokenError(f"there are no keys in {keys}: start the mesh with `feedmesh up` first, or give its --data-dir")
    issuer = Issuer.load_or_create(keys, issuer=DEFAULT_ISSUER, audience=DEFAULT_AUDIENCE)
    return lambda user_id: issuer.user_token(user_id, lifetime=lifetime)


def user_id_of(digits: str) -> int:
    """Read a user id.

    Raises:
        TokenError: no user can have it.

    """
    user_id = int(digits)
    if not 0 < user_id <= MAX_ID:
        raise TokenError(f"{digits} is not a user id: they are 1 to {MAX_ID}; write a username of only digits as @{digits}")
    return user_id
