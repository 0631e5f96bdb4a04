"""The servers that keep timelines: one, or a Redis Cluster. The URL decides, and what is above does not know."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, OutOfMemoryError

from meshkit.single_flight import SingleFlight
from timeline_svc.redis_node import PASSING, Command, Node
from timeline_svc.redis_url import Address, RedisUrl

# Enough for a slot that moves on while it is looked for.
_REDIRECTS = 3
_REFRESH_SECONDS = 1.0
_SLOTS_SECONDS = 0.25
_SLOTS = Command((), ("CLUSTER", "SLOTS"))

# A command, and the server to send it to, if one is known.
_Route = tuple[Address | None, Command]


class Servers(Protocol):
    """Where commands go."""

    async def run(self, commands: Sequence[Command], seconds: float) -> list[Any]:
        """Run commands, in one round trip to each server, within so many seconds. Any of the answers may be an exception."""

    def together(self, keys: Sequence[str]) -> list[list[str]]:
        """Group keys into those that one command may name."""


class SingleServer:
    """One server, which has all keys."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop

    def run(self, commands: Sequence[Command], seconds: float) -> Coroutine[Any, Any, list[Any]]:
        """Run commands in one round trip."""
        return self._node.run(commands, self._loop.time() + seconds)

    def together(self, keys: Sequence[str]) -> list[list[str]]:
        """All keys may go into one command."""
        return [list(keys)] if keys else []


class Cluster:
    """A Redis Cluster's masters, each with connections and a circuit breaker of its own: what fails on one stays there.

    redis-py's own client does not keep that promise: to look for a new master it closes the connections to all of them, and its
    pipelines give up, or wait, together.
    """

    def __init__(self, url: RedisUrl, refreshes: SingleFlight[str, None]) -> None:
        self._url = url
        self._refreshes = refreshes
        self._nodes: dict[Address, Node] = {}
        self._owners: dict[int, Address] = {}
        self._refreshed = float("-inf")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._close(list(self._nodes))

    def together(self, keys: Sequence[str]) -> list[list[str]]:
        """One command may name keys of one slot only."""
        slots: dict[int, list[str]] = defaultdict(list)
        for key in keys:
            slots[_slot(key)].append(key)
        return list(slots.values())

    async def run(self, commands: Sequence[Command], seconds: float) -> list[Any]:
        """Run commands, in one round trip to each master at the same time, and follow those that went elsewhere."""
        deadline = asyncio.get_running_loop().time() + seconds
        if not self._owners:
            await self._learn(deadline)
        routes: list[_Route] = [(self._owners.get(_slot(command.keys[0])), command) for command in commands]
        answers = await self._send(routes, deadline)
        for _ in range(_REDIRECTS):
            redirected = [number for number, answer in enumerate(answers) if isinstance(answer, AskError)]
            if not redirected:
                break
            for number in redirected:
                routes[number] = self._redirect(routes[number], answers[number])
            found = await self._send([routes[number] for number in redirected], deadline)
            for number, answer in zip(redirected, found, strict=True):
                answers[number] = answer
        if any(isinstance(answer, Exception) and not isinstance(answer, OutOfMemoryError) for answer in answers):
            self._learn_soon()
        return [ClusterDownError("the slot is not found") if isinstance(answer, AskError) else answer for answer in answers]

    def _redirect(self, route: _Route, answer: AskError) -> _Route:
        """Find out where to go on: for good when the slot has moved, only this time when its keys are moving."""
        asked, command = route
        address = Address(answer.host or (asked.host if asked else ""), answer.port)
        if not isinstance(answer, MovedError):
            return address, command._replace(asking=True)
        self._owners[answer.slot_id] = address
        self._learn_soon()
        return address, command._replace(asking=False)

    async def _send(self, routes: Sequence[_Route], deadline: float) -> list[Any]:
        answers: list[Any] = [ClusterDownError("no server has the slot")] * len(routes)
        by_address: dict[Address, list[int]] = defaultdict(list)
        for number, (address, _) in enumerate(routes):
            if address:
                by_address[address].append(number)

        async def send(address: Address, numbers: list[int]) -> None:
            found = await self._node(address).run([routes[number][1] for number in numbers], deadline)
            for number, answer in zip(numbers, found, strict=True):
                answers[number] = answer

        async with asyncio.TaskGroup() as tasks:
            for address, numbers in by_address.items():
                tasks.create_task(send(address, numbers))
        return answers

    def _node(self, address: Address) -> Node:
        if address not in self._nodes:
            self._nodes[address] = Node(self._url.of(address), str(address))
        return self._nodes[address]

    async def _learn(self, deadline: float) -> None:
        """Wait until it is known which master has which slots, or nobody could tell."""
        task = next(iter(self._refreshes.start(["slots"], self._ask_for_slots)))
        done, _ = await asyncio.wait((task,), timeout=deadline - asyncio.get_running_loop().time())
        for ended in done:
            ended.result()

    def _learn_soon(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._refreshed >= _REFRESH_SECONDS:
            self._refreshed = now
            self._refreshes.start(["slots"], self._ask_for_slots)

    async def _ask_for_slots(self, _keys: list[str]) -> None:
        """Ask any server for the slots; in random order, for one that is cut off from the others may tell of the past."""
        asked = [*{*self._nodes, *self._url.seeds}]
        for address in random.SystemRandom().sample(asked, len(asked)):
            (answer,) = await self._node(address).run([_SLOTS], asyncio.get_running_loop().time() + _SLOTS_SECONDS)
            if not isinstance(answer, PASSING):
                self._owners = _owners(answer, address)
                await self._close([known for known in self._nodes if known not in {*self._owners.values(), *self._url.seeds}])
                return

    async def _close(self, addresses: list[Address]) -> None:
        for address in addresses:
            await self._nodes.pop(address).aclose()


def _slot(key: str) -> int:
    return key_slot(key.encode())


def _owners(ranges: Any, asked: Address) -> dict[int, Address]:  # noqa: ANN401  # as it was parsed
    """Read the answer to CLUSTER SLOTS: ranges of slots, each with its master first. A host that is not told is the one asked."""
    if isinstance(ranges, Exception):
        raise ranges  # the server is none of a cluster
    owners: dict[int, Address] = {}
    for first, last, (host, port, *_), *_replicas in ranges:
        owners |= dict.fromkeys(range(first, last + 1), Address(host.decode() if host else asked.host, port))
    return owners


@asynccontextmanager
async def connected_servers(url: RedisUrl) -> AsyncIterator[Servers]:
    """Run the client for what the URL names; nothing is connected before it is needed."""
    if url.seeds:
        refreshes = SingleFlight[str, None]()
        # The refreshes end first: they open connections.
        async with aclosing(Cluster(url, refreshes)) as cluster, refreshes:
            yield cluster
    else:
        async with aclosing(Node(url.text, "redis")) as node:
            yield SingleServer(node, asyncio.get_running_loop())
