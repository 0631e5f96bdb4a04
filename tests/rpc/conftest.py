"""A graph service and a post service for each test, in this process, called over real gRPC."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from feed.graph.v1 import user_pb2, user_service_pb2

import graph_svc.__main__ as graph
import post_svc.__main__ as post
from gateway.edge.app import running_edge
from gateway.edge.settings import EdgeSettings
from meshkit.queue.memory import MemoryQueue
from meshkit.settings import MeshSettings
from tests.rpc.client import ANY_PORT, Stubs, Tokens, graph_settings, post_settings, stubs
from tests.rpc.feeds import Feeds, serving_feeds
from tests.rpc.follow_calls import Graph
from tests.rpc.media_calls import MediaCalls
from tests.rpc.post_calls import Posts


@pytest.fixture
def common(tmp_path: Path) -> dict[str, object]:
    """Give the settings that all services of a test share."""
    return {"data_dir": tmp_path / "data"}


@pytest.fixture
def tokens(common: dict[str, object]) -> Tokens:
    """Make the metadata of users and services."""
    return Tokens(MeshSettings.model_validate(common))


@pytest.fixture
async def queue() -> AsyncIterator[MemoryQueue]:
    """Run a broker that retries at once."""
    async with MemoryQueue(pause=lambda _deliveries: 0.0) as broker:
        yield broker


@pytest.fixture
async def feeds(tokens: Tokens) -> AsyncIterator[Feeds]:
    """Run what the graph service tells of feeds that lose an author."""
    async with serving_feeds(tokens.settings) as running:
        yield running


@pytest.fixture
async def graph_address(common: dict[str, object], queue: MemoryQueue, feeds: Feeds) -> AsyncIterator[str]:
    """Run a graph service, and give its address."""
    async with graph.running(graph_settings(common, timeline_address=feeds.address), queue) as address:
        yield address


@pytest.fixture
async def graph_stubs(graph_address: str) -> AsyncIterator[Stubs]:
    """Connect to a graph service."""
    async with stubs(graph_address) as connected:
        yield connected


@pytest.fixture
async def media_url(common: dict[str, object]) -> AsyncIterator[str]:
    """Run an edge app, and give the beginning of the URLs of what is uploaded there."""
    async with running_edge(EdgeSettings.model_validate(common | {"edge_listen": ANY_PORT})) as address:
        yield f"http://{address}"


@pytest.fixture
async def post_stubs(common: dict[str, object], queue: MemoryQueue, media_url: str, graph_address: str) -> AsyncIterator[Stubs]:
    """Run a post service beside a graph service, and connect to it."""
    settings = post_settings(common, media_public_url=media_url, graph_address=graph_address)
    async with post.running(settings, queue) as address, stubs(address) as connected:
        yield connected


class People:
    """Makes accounts."""

    def __init__(self, connected: Stubs) -> None:
        self._connected = connected
        self._numbers = count()

    async def make(self, username: str = "", *, request_id: str = "") -> user_pb2.User:
        """Make one account, with a name of its own."""
        name = username or f"user_{next(self._numbers)}"
        request = user_service_pb2.CreateUserRequest(username=name, request_id=request_id)
        return (await self._connected.users.CreateUser(request)).user

    async def ids(self, number: int) -> list[int]:
        """Make some accounts, and give their ids, oldest first."""
        return [(await self.make()).user_id for _ in range(number)]


@pytest.fixture
def people(graph_stubs: Stubs) -> People:
    """Make accounts at will."""
    return People(graph_stubs)


@pytest.fixture
def follows(graph_stubs: Stubs, tokens: Tokens) -> Graph:
    """Call the follow graph."""
    return Graph(graph_stubs, tokens)


@pytest.fixture
def posts(post_stubs: Stubs, tokens: Tokens) -> Posts:
    """Call the post service."""
    return Posts(post_stubs, tokens)


@pytest.fixture
def media(post_stubs: Stubs, tokens: Tokens) -> MediaCalls:
    """Call the media service, and upload."""
    return MediaCalls(post_stubs, tokens)
