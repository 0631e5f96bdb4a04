"""All services in this process, on embedded engines: SQLite, queues in memory, and a private Valkey."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypedDict

import fanout_svc.__main__ as fanout
import graph_svc.__main__ as graph
import post_svc.__main__ as post
import timeline_svc.__main__ as timeline
from cli.parts import MeshOptions, Services
from fanout_svc.settings import FanoutSettings
from gateway.edge.app import running_edge
from gateway.edge.settings import EdgeSettings
from graph_svc.settings import GraphSettings
from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from meshkit.queue.memory import MemoryQueue
from meshkit.valkey import private_valkey
from post_svc.settings import PostSettings
from timeline_svc.settings import TimelineSettings


class _Common(TypedDict):
    data_dir: Path
    reflection: bool
    jwks_file: Path
    token_issuer: str
    token_audience: str
    queue_url: str


@asynccontextmanager
async def embedded_services(options: MeshOptions) -> AsyncIterator[Services]:
    """Run the services for the length of a block; they talk real gRPC to each other."""
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(private_valkey(options.data_dir))
        queue = await stack.enter_async_context(MemoryQueue())
        edge = await _start_edge(stack, options)
        addresses = await _start(stack, options, queue, redis_url, edge)
        yield Services({name: (address,) for name, address in addresses.items()}, redis_url, {"Valkey": redis_url}, edge)


async def _start_edge(stack: AsyncExitStack, options: MeshOptions) -> str | None:
    """Start what takes and serves media, unless a bucket does."""
    settings = EdgeSettings(data_dir=options.data_dir, edge_listen="127.0.0.1:0")
    if not settings.media_url.startswith("file:"):
        return None
    return await stack.enter_async_context(running_edge(settings))


async def _start(
    stack: AsyncExitStack, options: MeshOptions, queue: MemoryQueue, redis_url: str, edge: str | None
) -> dict[str, str]:
    """Start the services in the order in which they need each other. What is not said here comes from the environment."""
    common = _Common(
        data_dir=options.data_dir,
        reflection=True,
        # The gateway, and the tokens that are printed, go with the development issuer.
        jwks_file=options.jwks_file,
        token_issuer=DEFAULT_ISSUER,
        token_audience=DEFAULT_AUDIENCE,
        queue_url="memory://",
    )
    addresses: dict[str, str] = {}

    async def started(name: str, running: AbstractAsyncContextManager[str]) -> str:
        addresses[name] = await stack.enter_async_context(running)
        return addresses[name]

    graph_settings = GraphSettings(**common, graph_listen=options.listen("graph"), worker=0, signup="open")
    graph_address = await started("graph", graph.running(graph_settings, queue))
    post_settings = PostSettings(**common, post_listen=options.listen("post"), worker=1)
    if edge:
        post_settings = post_settings.model_copy(update={"media_public_url": options.url})
    post_address = await started("post", post.running(post_settings, queue))
    timeline_settings = TimelineSettings(
        **common,
        timeline_listen=options.listen("timeline"),
        redis_url=redis_url,
        graph_address=graph_address,
        post_address=post_address,
    )
    timeline_address = await started("timeline", timeline.running(timeline_settings, queue))
    fanout_settings = FanoutSettings(
        **common, fanout_listen=options.listen("fanout"), graph_address=graph_address, timeline_address=timeline_address
    )
    await started("fanout", fanout.running(fanout_settings, queue))
    return addresses
