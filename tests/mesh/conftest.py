"""The whole mesh, as `feedmesh up` runs it, once on embedded and once on real engines."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import aiohttp
import pytest
import pytest_asyncio

from cli.mesh import running_mesh
from cli.parts import Engines, Mesh, MeshOptions
from tests.gateway.rest import Answer, Rest

ORIGIN = "http://app.test"
# At most 40 looks a second, of several requests each: the gateway allows a user 200 requests a second.
BETWEEN_LOOKS = 0.025


@dataclass(frozen=True, slots=True)
class Someone:
    """A user with an account, calling through the gateway."""

    user_id: str
    username: str
    rest: Rest

    async def get(self, path: str) -> Answer:
        """Read."""
        return await self.rest.call("GET", path)

    async def post(self, path: str, body: object) -> Answer:
        """Send."""
        return await self.rest.call("POST", path, body)

    async def follow(self, other: "Someone") -> None:
        """Follow somebody."""
        answer = await self.post("/v1/follows", {"followee_id": other.user_id})
        assert answer.status == 200, answer

    async def publish(self, content: str) -> str:
        """Post, and give the post's id."""
        answer = await self.post("/v1/posts", {"content": content})
        assert answer.status == 200, answer
        return str(answer.body["post_id"])

    async def feed(self, query: str = "") -> list[str]:
        """Give the ids on the first page of the feed."""
        answer = await self.get(f"/v1/feed{query}")
        assert answer.status == 200, answer
        return [item["post"]["post_id"] for item in answer.body["items"]]

    async def whole_feed(self, page_size: int) -> list[str]:
        """Page to the feed's end; every page but the last must be full."""
        ids: list[str] = []
        token = ""
        while True:
            answer = await self.get(f"/v1/feed?page_size={page_size}&page_token={token}")
            assert answer.status == 200, answer
            page = [item["post"]["post_id"] for item in answer.body["items"]]
            ids += page
            token = answer.body["next_page_token"]
            if not token:
                return ids
            assert len(page) == page_size


People = Callable[[], Awaitable[Someone]]


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=get_args(Engines))
async def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """Run a mesh, in a task of its own so that it is stopped by the task that started it."""
    folder: Path = tmp_path_factory.mktemp("mesh")
    running: asyncio.Future[Mesh] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def run() -> None:
        options = MeshOptions(folder, port=0, fixed_ports=False, cors_origins=(ORIGIN,), engines=request.param)
        async with running_mesh(options) as started:
            running.set_result(started)
            await done.wait()

    task = asyncio.create_task(run())
    task.add_done_callback(lambda ended: None if running.done() else running.set_exception(_failure(ended)))
    yield await running
    done.set()
    await task


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP client."""
    async with aiohttp.ClientSession() as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def someone(mesh: Mesh, session: aiohttp.ClientSession) -> People:
    """Make new users, once the gateway has found the services."""
    numbers = itertools.count(1)
    await eventually(lambda: _healthy(mesh, session))

    async def make() -> Someone:
        username = f"someone_{next(numbers)}"
        created = await Rest(mesh.url, session, "").call("POST", "/v1/users", {"username": username}, token=None)
        assert created.status == 200, created
        user_id = created.body["user_id"]
        return Someone(user_id, username, Rest(mesh.url, session, mesh.issuer.user_token(int(user_id))))

    return make


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until a condition holds that nobody announces, however often a user has to look: it stays below the rate limit."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  # there is nothing to wait for but the condition
            await asyncio.sleep(BETWEEN_LOOKS)


def _failure(ended: asyncio.Task[None]) -> BaseException:
    return ended.exception() or AssertionError("the mesh ended before it ran")


async def _healthy(mesh: Mesh, session: aiohttp.ClientSession) -> bool:
    async with session.get(f"{mesh.url}/healthz") as answer:
        return answer.status == 200
