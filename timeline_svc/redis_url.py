"""The URL of the timelines' servers: one server, or the seeds of a cluster. What kind it is, the scheme says and nothing else."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from redis.asyncio.connection import parse_url

_SERVER = ("redis", "rediss", "unix")
_CLUSTER = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_PORT = 6379
_DATABASE = re.compile(r"/?[0-9]*")
_WRONG = (
    "the URL is wrong: right is redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], unix://[USER:PASSWORD@]/PATH, "
    "or redis+cluster://[USER:PASSWORD@]HOST[:PORT],…, with / ? # [ ] @ in a password as %2F %3F %23 %5B %5D %40"
)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL: `redis://…`, `rediss://…` (TLS), `unix://…`, or `redis+cluster://host:port,host:port…` and `rediss+cluster://…`.

    User, password and options (`?…`, those of redis-py) are the same for all servers of a cluster. Seeds are where the others are
    asked for: some are enough. A URL without seeds is that of one server.
    """

    text: str = field(repr=False)
    seeds: tuple[Address, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Understand a URL. Raises ValueError, which does not tell the password, when it is none of these."""
        parts = _split(text)
        if parts.scheme in _SERVER:
            _check_server(text)
            return cls(text)
        if parts.scheme not in _CLUSTER:
            raise ValueError(f"the scheme must be one of {', '.join((*_SERVER, *_CLUSTER))}")
        if parts.path.strip("/") not in ("", "0"):
            raise ValueError("a cluster has database 0 only")
        url = cls(text, tuple(_address(host) for host in parts.netloc.rpartition("@")[2].split(",")))
        _check_server(url.of(url.seeds[0]))
        return url

    def of(self, address: Address) -> str:
        """Give the URL of one server of the cluster, with the cluster's credentials and options."""
        parts = urlsplit(self.text)
        user, at, _ = parts.netloc.rpartition("@")
        return SplitResult(_CLUSTER[parts.scheme], f"{user}{at}{address}", "", parts.query, "").geturl()


def _address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_WRONG) from None
    if not host:
        raise ValueError("a cluster is named by its hosts: host:port,host:port…")
    return Address(host, port or _PORT)


def _check_server(text: str) -> None:
    """Find out what the client would stumble over later, or not see: it takes a path that is no database for none."""
    parts = _split(text)
    named = parts.path if parts.scheme == "unix" else parts.hostname and _DATABASE.fullmatch(parts.path)
    try:
        parse_url(text)
    except ValueError:
        named = None
    if not named:
        raise ValueError(_WRONG)


def _split(text: str) -> SplitResult:
    """Take a URL apart. What Python says of a wrong one may hold a piece of the password, as may a part after the hosts."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(_WRONG) from None
    if parts.fragment or "@" in parts.path + parts.query:
        raise ValueError(_WRONG)
    return parts
