"""The whole mesh on one machine: the services, on embedded engines or on real ones, and the gateway in front."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from cli.embedded import embedded_services
from cli.parts import Mesh, MeshOptions, Services
from cli.processes import service_processes
from gateway.envoy import bindable, run_envoy
from gateway.settings import GatewaySettings
from meshkit.issuer import Issuer
from meshkit.process import Child
from meshkit.settings import MeshSettings
from meshkit.supervisor import supervised

APP_ROUTES = {
    "feed.graph.v1.UserService": "graph",
    "feed.graph.v1.FollowService": "graph",
    "feed.graph.v1.FollowRequestService": "graph",
    "feed.graph.v1.BlockService": "graph",
    "feed.graph.v1.MuteService": "graph",
    "feed.post.v1.PostService": "post",
    "feed.post.v1.MediaService": "post",
    "feed.timeline.v1.TimelineService": "timeline",
}


# Short, so that a process that comes or goes is known soon.
_HEALTH_INTERVAL_S = 0.5


@asynccontextmanager
async def running_mesh(options: MeshOptions) -> AsyncIterator[Mesh]:
    """Run everything for the length of a block, and stop it in order: first what takes requests, last what keeps data.

    Raises:
        OSError: a port is taken.
        meshkit.process.ChildError: the gateway's port is taken, or an engine, a service or Envoy does not start.

    """
    # Settled before anything starts, since media URLs name it; and a port that is taken is told at once.
    options = replace(options, port=bindable(options.host, options.port))
    async with AsyncExitStack() as stack:
        issuer = Issuer.load_or_create(options.data_dir / "keys")
        services = await stack.enter_async_context(_SERVICES[options.engines](options))
        await _start_gateway(stack, options, services)
        yield Mesh(options.url, options.data_dir, issuer, services)


_SERVICES = {"embedded": embedded_services, "real": service_processes}


async def _start_gateway(stack: AsyncExitStack, options: MeshOptions, services: Services) -> None:
    services_tls = MeshSettings()
    settings = GatewaySettings(
        host=options.host,
        port=options.port,
        jwks_file=options.jwks_file,
        cors_origins=options.cors_origins,
        upstreams={service: ",".join(services.addresses[name]) for service, name in APP_ROUTES.items()},
        edge_upstream=services.edge,
        tls_cert=services_tls.tls_cert,
        tls_key=services_tls.tls_key,
        tls_ca=services_tls.tls_ca,
        tls_name=services_tls.tls_name,
        health_interval=_HEALTH_INTERVAL_S,
    )

    @asynccontextmanager
    async def envoy() -> AsyncIterator[Child]:
        async with run_envoy(settings, options.data_dir / "gateway") as gateway:
            yield gateway.process

    await stack.enter_async_context(supervised(envoy))
