"""The servers that keep timelines, and what tests of the timeline service share."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis, RedisCluster

from meshkit.valkey import private_valkey
from tests.timeline.home import Home, World
from tests.timeline.peers import Timelines, timelines
from tests.timeline.servers import look_into, patient_store, private_cluster
from tests.timeline.turning import Turning
from timeline_svc import pulled
from timeline_svc.redis_store import RedisTimelineStore

# Each runs an empty server for the length of a block and gives its URL. A server joins the suite by a line here.
SERVERS: dict[str, Callable[[Path], AbstractAsyncContextManager[str]]] = {
    "valkey": private_valkey,
    "cluster": private_cluster,
}


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=SERVERS)
async def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Run one server for all tests; they share nothing because each has users of its own."""
    async with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def single(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Run one server for tests that put themselves between it and the store."""
    async with private_valkey(tmp_path_factory.mktemp("single")) as url:
        yield url


@pytest.fixture(scope="session")
def users() -> Iterator[int]:
    """Give user ids that no other test has."""
    return count(1_000)


@pytest.fixture
def user(users: Iterator[int]) -> int:
    """Give a user of the test's own."""
    return next(users)


@pytest.fixture
async def redis(server: str) -> AsyncIterator[Redis | RedisCluster]:
    """Look into the server past the store."""
    async with look_into(server) as client:
        yield client


@pytest.fixture
async def store(server: str) -> AsyncIterator[RedisTimelineStore]:
    """Open the store."""
    async with patient_store(server) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a process read again only what somebody waits for: what it does by itself would outlive its test."""
    monkeypatch.setattr(pulled, "_AHEAD_SECONDS", 0)


@pytest.fixture
def home(store: RedisTimelineStore, users: Iterator[int]) -> Home:
    """Put a home feed together over an empty world."""
    return Home(store, World(), users)


@pytest.fixture
def turning(home: Home) -> Turning:
    """Have its authors turn."""
    return Turning(home)


@pytest.fixture
async def service(server: str, tmp_path: Path) -> AsyncIterator[Timelines]:
    """Run the service beside its peers."""
    async with timelines(server, tmp_path) as running:
        yield running
