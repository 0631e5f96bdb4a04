"""What is measured: a mesh with a process for each service, on SQLite, RabbitMQ and Valkey, behind the gateway."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from cli.mesh import APP_ROUTES
from gateway.envoy import run_envoy
from gateway.settings import GatewaySettings, RateLimit
from meshkit.auth import ServiceTokens
from meshkit.issuer import Issuer
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.process import Child, child
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.rpc.probe import is_serving
from meshkit.settings import MeshSettings
from meshkit.sockets import free_port
from meshkit.valkey import private_valkey

SERVICES = ("graph", "post", "timeline", "fanout")
_READY_S = 30.0
# One user's requests are all that a load generator sends: the limits count, and let everything through.
_ENDLESS = RateLimit(per_second=10**6, burst=10**6)


@dataclass(slots=True)
class Rig:
    """A running mesh, and what is needed to speak to each of its parts."""

    folder: Path
    redis_url: str
    queue_url: str
    addresses: Mapping[str, str]
    issuer: Issuer
    services: ServiceTokens
    url: str = ""
    processes: dict[str, Child] = field(default_factory=dict)
    _stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    def table(self, service: str) -> str:
        """Give the URL of a service's table."""
        return f"sqlite:///{self.table_file(service)}"

    def table_file(self, service: str) -> Path:
        """Give the file of a service's table."""
        return self.folder / f"{service}.db"

    def as_user(self, user_id: int) -> dict[str, str]:
        """Give the headers of a user's calls."""
        return {"authorization": f"Bearer {self.issuer.user_token(user_id)}"}

    def as_service(self) -> dict[str, str]:
        """Give the headers of a service's calls; they hold for a few minutes."""
        return {SERVICE_TOKEN_METADATA: self.services.mint()}

    async def start(self, service: str) -> None:
        """Start a service."""
        stack = self._stacks[service] = AsyncExitStack()
        running = self._running(service, self.addresses[service], SERVICES.index(service))
        self.processes[service] = await stack.enter_async_context(running)

    def another(self, service: str, address: str = "", **settings: str) -> AbstractAsyncContextManager[Child]:
        """Run one more process of a service for the length of a block. It takes work from queues; no other part calls it."""
        worker = len(SERVICES) + SERVICES.index(service)
        return self._running(service, address or f"127.0.0.1:{free_port()}", worker, settings)

    async def stop(self, service: str) -> None:
        """Stop a service."""
        await self._stacks.pop(service).aclose()

    async def restart(self, service: str) -> None:
        """Let a service forget all that it keeps in memory."""
        await self.stop(service)
        await self.start(service)

    def _running(
        self, service: str, address: str, worker: int, settings: Mapping[str, str] = MappingProxyType({})
    ) -> AbstractAsyncContextManager[Child]:
        return child(
            [sys.executable, "-m", f"{service}_svc"],
            name=f"{service}_svc",
            log=self.folder / f"{service}.log",
            ready=partial(is_serving, address),
            ready_timeout=_READY_S,
            env={**self._environment(service, address, worker), **settings},
        )

    def _environment(self, service: str, address: str, worker: int) -> dict[str, str]:
        return {
            **os.environ,
            "FEEDMESH_DATA_DIR": str(self.folder),
            "FEEDMESH_QUEUE_URL": self.queue_url,
            "FEEDMESH_REDIS_URL": self.redis_url,
            "FEEDMESH_WORKER": str(worker),
            "FEEDMESH_SIGNUP": "open",
            "FEEDMESH_LOG_LEVEL": "warning",
            f"FEEDMESH_{service.upper()}_LISTEN": address,
            **{f"FEEDMESH_{name.upper()}_TABLE": self.table(name) for name in SERVICES},
            **{f"FEEDMESH_{name.upper()}_ADDRESS": address for name, address in self.addresses.items()},
        }


@asynccontextmanager
async def running_rig(folder: Path) -> AsyncIterator[Rig]:
    """Run a mesh for the length of a block. Raises ChildError when a part does not start."""
    settings = MeshSettings(data_dir=folder)
    addresses = {service: f"127.0.0.1:{free_port()}" for service in SERVICES}
    issuer = Issuer.load_or_create(settings.keys_dir)
    async with private_valkey(folder) as redis_url, private_rabbitmq(folder) as queue_url, AsyncExitStack() as stack:
        rig = Rig(folder, redis_url, queue_url, addresses, issuer, settings.service_tokens("bench"))
        for service in SERVICES:
            await rig.start(service)
            stack.push_async_callback(rig.stop, service)
        async with run_envoy(gateway_settings(folder, addresses), folder / "gateway") as gateway:
            rig.url = gateway.url
            yield rig


def gateway_settings(folder: Path, addresses: Mapping[str, str]) -> GatewaySettings:
    """Say how a gateway in front of these addresses listens, one for each service."""
    return GatewaySettings(
        port=0,
        jwks_file=folder / "keys" / "jwks.json",
        upstreams={service: addresses[name] for service, name in APP_ROUTES.items()},
        user_limit=_ENDLESS,
        address_limit=_ENDLESS,
    )
