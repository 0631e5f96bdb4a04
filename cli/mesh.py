"""The whole mesh in one process: four services that talk gRPC to each other, a private Valkey, and the gateway in front."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import fanout_svc.__main__ as fanout
import graph_svc.__main__ as graph
import post_svc.__main__ as post
import timeline_svc.__main__ as timeline
from fanout_svc.settings import FanoutSettings
from gateway.envoy import run_envoy
from gateway.settings import GatewaySettings
from graph_svc.settings import GraphSettings
from meshkit.auth import Issuer
from meshkit.process import Child
from meshkit.queue.memory import MemoryQueue
from meshkit.supervisor import supervised
from meshkit.valkey import private_valkey
from post_svc.settings import PostSettings
from timeline_svc.settings import TimelineSettings

_ANY_PORT = "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """How to run a mesh on one machine. With `fixed_ports` the services are on 50051 to 50054, else on free ports."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    fixed_ports: bool = True
    cors_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh. `services` maps each service to its gRPC address."""

    url: str
    issuer: Issuer
    services: dict[str, str]
    redis_url: str


@asynccontextmanager
async def running_mesh(options: MeshOptions) -> AsyncIterator[Mesh]:
    """Run everything for the length of a block, and stop it in order: first what takes requests, last what keeps data.

    Raises:
        OSError: a port is taken.
        meshkit.process.ChildError: Valkey or Envoy does not start.

    """
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(private_valkey(options.data_dir))
        queue = await stack.enter_async_context(MemoryQueue())
        services = await _start_services(stack, options, queue, redis_url)
        issuer = Issuer.load_or_create(options.data_dir / "keys")
        url = await _start_gateway(stack, options, services)
        yield Mesh(url, issuer, services, redis_url)


async def _start_services(stack: AsyncExitStack, options: MeshOptions, queue: MemoryQueue, redis_url: str) -> dict[str, str]:
    def settings(name: str) -> dict[str, object]:
        common: dict[str, object] = {"data_dir": options.data_dir, "reflection": True}
        return common if options.fixed_ports else common | {f"{name}_listen": _ANY_PORT}

    graph_settings = GraphSettings.model_validate(settings("graph") | {"worker": 0, "signup": "open"})
    graph_address = await stack.enter_async_context(graph.running(graph_settings, queue))
    post_settings = PostSettings.model_validate(settings("post") | {"worker": 1})
    post_address = await stack.enter_async_context(post.running(post_settings, queue))
    timeline_settings = TimelineSettings.model_validate(
        settings("timeline") | {"redis_url": redis_url, "graph_address": graph_address, "post_address": post_address}
    )
    timeline_address = await stack.enter_async_context(timeline.running(timeline_settings, queue))
    fanout_settings = FanoutSettings.model_validate(
        settings("fanout") | {"graph_address": graph_address, "timeline_address": timeline_address}
    )
    fanout_address = await stack.enter_async_context(fanout.running(fanout_settings, queue))
    return {"graph": graph_address, "post": post_address, "timeline": timeline_address, "fanout": fanout_address}


async def _start_gateway(stack: AsyncExitStack, options: MeshOptions, services: dict[str, str]) -> str:
    settings = GatewaySettings(
        host=options.host,
        port=options.port,
        jwks_file=options.data_dir / "keys" / "jwks.json",
        cors_origins=options.cors_origins,
        upstreams={
            "feed.graph.v1.UserService": services["graph"],
            "feed.graph.v1.FollowService": services["graph"],
            "feed.post.v1.PostService": services["post"],
            "feed.timeline.v1.TimelineService": services["timeline"],
        },
    )
    bound = settings
    url = ""

    @asynccontextmanager
    async def envoy() -> AsyncIterator[Child]:
        nonlocal bound, url
        async with run_envoy(bound, options.data_dir / "gateway") as gateway:
            url = gateway.url
            # Started again, it must be found where it was.
            bound = settings.model_copy(update={"port": int(url.rpartition(":")[2])})
            yield gateway.process

    await stack.enter_async_context(supervised(envoy))
    return url
