"""The whole mesh in one process: four services that talk gRPC to each other, a private Valkey, and the gateway in front."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import fanout_svc.__main__ as fanout
import graph_svc.__main__ as graph
import post_svc.__main__ as post
import timeline_svc.__main__ as timeline
from fanout_svc.settings import FanoutSettings
from gateway.envoy import run_envoy
from gateway.settings import GatewaySettings
from graph_svc.settings import GraphSettings
from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from meshkit.issuer import Issuer
from meshkit.process import Child
from meshkit.queue.memory import MemoryQueue
from meshkit.supervisor import supervised
from meshkit.valkey import private_valkey
from post_svc.settings import PostSettings
from timeline_svc.settings import TimelineSettings

_PORTS = {"graph": 50051, "post": 50052, "timeline": 50053, "fanout": 50054}


class _Common(TypedDict):
    data_dir: Path
    reflection: bool
    jwks_file: Path
    token_issuer: str
    token_audience: str


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
        issuer = Issuer.load_or_create(options.data_dir / "keys")
        services = await _start_services(stack, options, queue, redis_url)
        url = await _start_gateway(stack, options, services)
        yield Mesh(url, issuer, services, redis_url)


async def _start_services(stack: AsyncExitStack, options: MeshOptions, queue: MemoryQueue, redis_url: str) -> dict[str, str]:
    """Start the services in the order in which they need each other. What is not said here comes from the environment."""
    common = _Common(
        data_dir=options.data_dir,
        reflection=True,
        # The gateway, and the tokens that are printed, go with the development issuer.
        jwks_file=options.data_dir / "keys" / "jwks.json",
        token_issuer=DEFAULT_ISSUER,
        token_audience=DEFAULT_AUDIENCE,
    )

    def listen(name: str) -> str:
        return f"127.0.0.1:{_PORTS[name] if options.fixed_ports else 0}"

    async def started(name: str, running: AbstractAsyncContextManager[str]) -> str:
        addresses[name] = await stack.enter_async_context(running)
        return addresses[name]

    addresses: dict[str, str] = {}
    graph_settings = GraphSettings(**common, graph_listen=listen("graph"), worker=0, signup="open")
    graph_address = await started("graph", graph.running(graph_settings, queue))
    post_settings = PostSettings(**common, post_listen=listen("post"), worker=1)
    post_address = await started("post", post.running(post_settings, queue))
    timeline_settings = TimelineSettings(
        **common, timeline_listen=listen("timeline"), redis_url=redis_url, graph_address=graph_address, post_address=post_address
    )
    timeline_address = await started("timeline", timeline.running(timeline_settings, queue))
    fanout_settings = FanoutSettings(
        **common, fanout_listen=listen("fanout"), graph_address=graph_address, timeline_address=timeline_address
    )
    await started("fanout", fanout.running(fanout_settings, queue))
    return addresses


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
