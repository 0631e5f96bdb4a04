"""What a mesh on one machine is asked for, and what it consists of."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.envoy import reachable
from meshkit.issuer import Issuer

Engines = Literal["embedded", "real"]

_PORTS = {"graph": 50051, "post": 50052, "timeline": 50053, "fanout": 50054}
# So that the ports of one service's processes differ in the tens only.
_NEXT_PROCESS = 10


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """How to run a mesh on one machine.

    `processes` is the number of processes of each service, with real engines; embedded ones share a single process. With
    `fixed_ports` the services are on 50051 to 50054, and their further processes on ports 10, 20, … higher; else on free ports.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    fixed_ports: bool = True
    cors_origins: tuple[str, ...] = ()
    engines: Engines = "embedded"
    processes: int = 2

    def listen(self, service: str, process: int = 0) -> str:
        """Say where a process of a service listens; port 0 takes a free one."""
        return f"127.0.0.1:{_PORTS[service] + _NEXT_PROCESS * process if self.fixed_ports else 0}"

    @property
    def url(self) -> str:
        """Where the gateway is reached; its port must be settled."""
        return f"http://{reachable(self.host)}:{self.port}"

    @property
    def jwks_file(self) -> Path:
        """The development issuer's keys."""
        return self.data_dir / "keys" / "jwks.json"


@dataclass(frozen=True, slots=True)
class Services:
    """Running services. Each has one or more gRPC addresses; `engines` says what else runs, and where.

    `edge` is the address of the app that takes and serves media; none where a bucket does. `restart` replaces the processes while
    the mesh serves; none where there is only one.
    """

    addresses: Mapping[str, tuple[str, ...]]
    redis_url: str
    engines: Mapping[str, str]
    edge: str | None = None
    restart: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh."""

    url: str
    data_dir: Path
    issuer: Issuer
    services: Services
