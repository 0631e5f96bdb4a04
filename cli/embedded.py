"""All services in this process, on embedded engines: SQLite, queues in memory, and a private Valkey."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypedDict

import fanout_svc.__main__ as fanout
import graph_svc.__main__ as graph
import post_svc.__main__ as post
import timeline_svc.__main__ as timeline
from cli.addresses import settled
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
    """Run the services for the length of a block; they talk real gRPC to each other. Raises OSError when a port is taken."""
    addresses = {name: address for name, (address,) in settled(options, processes=1).items()}
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(private_valkey(options.data_dir))
        queue = await stack.enter_async_context(MemoryQueue())
        edge = await _start_edge(stack, options)
        for running in _services(options, addresses, queue, redis_url, edge):
            await stack.enter_async_context(running)
        yield Services({name: (address,) for name, address in addresses.items()}, redis_url, {"Valkey": redis_url}, edge)


async def _start_edge(stack: AsyncExitStack, options: MeshOptions) -> str | None:
    """Start what takes and serves media, unless a bucket does."""
    settings = EdgeSettings(data_dir=options.data_dir, edge_listen="127.0.0.1:0")
    if not settings.media_url.startswith("file:"):
        return None
    return await stack.enter_async_context(running_edge(settings))


def _services(
    options: MeshOptions, addresses: Mapping[str, str], queue: MemoryQueue, redis_url: str, edge: str | None
) -> list[AbstractAsyncContextManager[str]]:
    """Give the services in the order in which they start. What is not said here comes from the environment."""
    common = _Common(
        data_dir=options.data_dir,
        reflection=True,
        # The gateway, and the tokens that are printed, go with the development issuer.
        jwks_file=options.jwks_file,
        token_issuer=DEFAULT_ISSUER,
        token_audience=DEFAULT_AUDIENCE,
        queue_url="memory://",
    )
    at_graph, at_post, at_timeline = addresses["graph"], addresses["post"], addresses["timeline"]
    graphs = GraphSettings(**common, graph_listen=at_graph, timeline_address=at_timeline, worker=0, signup="open")
    posts = PostSettings(**common, post_listen=at_post, graph_address=at_graph, worker=1)
    if edge:
        posts = posts.model_copy(update={"media_public_url": options.url})
    timelines = TimelineSettings(
        **common, timeline_listen=at_timeline, redis_url=redis_url, graph_address=at_graph, post_address=at_post
    )
    fanouts = FanoutSettings(
        **common, fanout_listen=addresses["fanout"], graph_address=at_graph, post_address=at_post, timeline_address=at_timeline
    )
    return [
        graph.running(graphs, queue),
        post.running(posts, queue),
        timeline.running(timelines, queue),
        fanout.running(fanouts, queue),
    ]
