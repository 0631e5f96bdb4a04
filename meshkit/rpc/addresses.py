"""Where a service is: `host:port`, several `ip:port` separated by commas, or `dns:///name:port` for all that a name stands for."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_DNS = "dns:///"
_PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:,/\[\]]+)):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """A host and a port. `version` is that of an IP address, None for a name."""

    host: str
    port: int
    version: int | None


def places(address: str) -> list[Place]:
    """Take an address apart.

    Raises:
        ValueError: it has none of the three forms. A list holds IP addresses of one version only, since it is final: a name is
            looked up again and again, and may stand for many already.

    """
    found = [_place(part) for part in address.removeprefix(_DNS).split(",")]
    if len(found) > 1 and (address.startswith(_DNS) or len({place.version for place in found} - {None}) != 1 or _named(found)):
        raise ValueError(f"{address!r} is a list, which may hold IP addresses of one version only")
    if address.startswith(_DNS) and not _named(found):
        raise ValueError(f"{address!r} needs a name after {_DNS}")
    return found


def target(address: str) -> str:
    """Write an address as gRPC wants it.

    Raises:
        ValueError: as `places`.

    """
    found = places(address)
    if _named(found):
        return _DNS + address.removeprefix(_DNS)
    return f"ipv{found[0].version}:{address}"


def _checked(address: str) -> str:
    places(address)
    return address


Address = Annotated[str, AfterValidator(_checked)]


def _place(text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not host:port; IPv6 hosts stand in brackets")
    host = match[1] or match[2]
    try:
        version: int | None = ipaddress.ip_address(host).version
    except ValueError:
        if match[1]:
            raise ValueError(f"{text!r} is not host:port; only IPv6 hosts stand in brackets") from None
        version = None
    return Place(host, int(match[3]), version)


def _named(found: list[Place]) -> bool:
    return any(place.version is None for place in found)
