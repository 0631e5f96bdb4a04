"""The URL of the timelines' servers: one server, or the seeds of a cluster. What kind it is, the scheme says and nothing else."""

from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

_SERVER = ("redis", "rediss", "unix")
_CLUSTER = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_PORT = 6379


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

    text: str
    seeds: tuple[Address, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Understand a URL. Raises ValueError, which does not tell the password, when it is none of these."""
        parts = urlsplit(text)
        if parts.scheme in _SERVER:
            return cls(text)
        if parts.scheme not in _CLUSTER:
            raise ValueError(f"the scheme must be one of {', '.join((*_SERVER, *_CLUSTER))}")
        if parts.path.strip("/") not in ("", "0"):
            raise ValueError("a cluster has database 0 only")
        return cls(text, tuple(_address(parts.scheme, host) for host in parts.netloc.rpartition("@")[2].split(",")))

    def of(self, address: Address) -> str:
        """Give the URL of one server of the cluster, with the cluster's credentials and options."""
        parts = urlsplit(self.text)
        user, at, _ = parts.netloc.rpartition("@")
        return SplitResult(_CLUSTER[parts.scheme], f"{user}{at}{address}", "", parts.query, "").geturl()


def _address(scheme: str, text: str) -> Address:
    parts = urlsplit(f"{scheme}://{text}")
    if not parts.hostname:
        raise ValueError("a cluster is named by its hosts: host:port,host:port…")
    return Address(parts.hostname, parts.port or _PORT)
