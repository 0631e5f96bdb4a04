"""Users who read and write when they want, not when the server has time: `python -m bench.open_loop PLAN`, a process of its own.

A request is due at a moment that is drawn beforehand, and its latency counts from then on: what waits because the server is slow,
or because all connections are taken, is counted as waiting. With a rate of 0 it finds out how much the server can do instead: every
connection always has a request under way.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from bench.http_client import Connections, connected

_POLL_S = 0.005
_PATIENCE_S = 10.0
_CREATED = 200
_CONTENT = "What is said while others read. " + "#" * 68


class Probe(msgspec.Struct):
    """An author and the followers, by their places among the tokens: a follower looks for what the author posts."""

    author: int
    followers: list[int]


class Plan(msgspec.Struct):
    """A load: requests a second (0: as many as it takes), how many of six are writes, and probes a second beside them."""

    host: str
    port: int
    tokens: list[str]
    rate: float
    seconds: float
    writes_of_six: int
    connections: int = 64
    probes: list[Probe] = []
    probe_rate: float = 0
    seed: int = 1


class Outcome(msgspec.Struct):
    """How long, in seconds: reads and writes from when they were due, and posts from their acknowledgement to the follower's feed.

    `behind` is by how much the client itself was late with a request at worst.
    """

    reads: list[float] = []
    writes: list[float] = []
    seen: list[float] = []
    behind: float = 0


class Load:
    """A load under way."""

    def __init__(self, plan: Plan, connections: Connections) -> None:
        self._plan = plan
        self._connections = connections
        self._chance = random.Random(plan.seed)  # noqa: S311  # the same load in every run
        self.outcome = Outcome()

    async def run(self) -> None:
        """Run it to its end, until every answer is there. Raises ValueError when a request fails."""
        if not self._plan.rate:
            await self._saturate()
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._arrivals(tasks))
            if self._plan.probes:
                tasks.create_task(self._probing(tasks))

    async def _saturate(self) -> None:
        until = time.perf_counter() + self._plan.seconds

        async def worker() -> None:
            while time.perf_counter() < until:
                await self._one(time.perf_counter())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._plan.connections):
                tasks.create_task(worker())

    async def _arrivals(self, tasks: asyncio.TaskGroup) -> None:
        due = time.perf_counter()
        until = due + self._plan.seconds
        while (due := due + self._chance.expovariate(self._plan.rate)) < until:
            await _until(due)
            self.outcome.behind = max(self.outcome.behind, time.perf_counter() - due)
            tasks.create_task(self._one(due))

    async def _one(self, due: float) -> None:
        token = self._chance.choice(self._plan.tokens)
        if self._chance.randrange(6) < self._plan.writes_of_six:
            await self._post(token)
            self.outcome.writes.append(time.perf_counter() - due)
        else:
            await self._read(token)
            self.outcome.reads.append(time.perf_counter() - due)

    async def _probing(self, tasks: asyncio.TaskGroup) -> None:
        due = time.perf_counter()
        until = due + self._plan.seconds
        while (due := due + self._chance.expovariate(self._plan.probe_rate)) < until:
            await _until(due)
            tasks.create_task(self._probe(self._chance.choice(self._plan.probes)))

    async def _probe(self, probe: Probe) -> None:
        """Post, and read a follower's feed until the post is there."""
        wanted = (await self._post(self._plan.tokens[probe.author])).split(b",", 1)[0].lstrip(b"{")
        began = time.perf_counter()
        token = self._plan.tokens[self._chance.choice(probe.followers)]
        async with asyncio.timeout(_PATIENCE_S):
            while wanted not in await self._read(token):  # noqa: ASYNC110 - only the feed tells
                await asyncio.sleep(_POLL_S)
        self.outcome.seen.append(time.perf_counter() - began)

    async def _read(self, token: str) -> bytes:
        return await self._ask(f"GET /v1/feed?page_size=20 HTTP/1.1\r\nhost: mesh\r\nauthorization: Bearer {token}\r\n\r\n")

    async def _post(self, token: str) -> bytes:
        body = f'{{"content":"{_CONTENT}"}}'
        head = f"POST /v1/posts HTTP/1.1\r\nhost: mesh\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        return await self._ask(f"{head}content-length: {len(body)}\r\n\r\n{body}")

    async def _ask(self, request: str) -> bytes:
        answer = await self._connections.ask(request.encode())
        if answer.status != _CREATED:
            raise ValueError(f"answered {answer.status}: {answer.body[:200]!r}")
        return answer.body


async def _until(due: float) -> None:
    wait = due - time.perf_counter()
    if wait > 0:
        await asyncio.sleep(wait)


async def _main(plan: Plan) -> None:
    async with connected(plan.host, plan.port, plan.connections) as connections:
        load = Load(plan, connections)
        await load.run()
    sys.stdout.buffer.write(msgspec.json.encode(load.outcome))


if __name__ == "__main__":
    uvloop.run(_main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)))
