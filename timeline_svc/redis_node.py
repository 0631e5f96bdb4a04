"""One Redis or Valkey server: connections, deadlines, scripts, and what its failures mean."""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import (
    ClusterDownError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from timeline_svc.breaker import Breaker, CircuitOpenError

_CONNECTIONS = 64
# A deadline noticed so much too late, in seconds, tells of this process, which had no time to look; not of the server.
_STALLED = 0.05
# Answers for which redis-py has no class: it cannot save and so takes no writes, lacks replicas, or is in a script without end.
_REFUSALS = ("MISCONF ", "NOREPLICAS ", "BUSY ")


class RefusedError(Exception):
    """The server answers, and serves nobody now."""


class StalledError(Exception):
    """The deadline passed while this process did something else."""


class CongestedError(Exception):
    """The deadline passed behind this process's other calls, which the server answers."""


# The server is away, for whatever reason: gone, frozen, loading, a replica now, or it does not know us any more. LOADING and
# refused passwords are connection errors, and a deadline that passed is an OSError.
_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    OSError,
    InvalidResponse,
    ReadOnlyError,
    ClusterDownError,
    NoPermissionError,
    RefusedError,
)
# What may go well with the next call, or with another one. Any other answer than expected is a bug, and shows as one.
PASSING = (*_AWAY, OutOfMemoryError, TryAgainError, CircuitOpenError, StalledError, CongestedError)

Word = str | bytes | int


class Script:
    """A Lua script, sent by its hash; its text follows when a server does not know it."""

    def __init__(self, name: str) -> None:
        folder = files("timeline_svc") / "lua"
        self.text = (folder / "packed.lua").read_text() + (folder / f"{name}.lua").read_text()
        self._sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[bytes | int]) -> "Command":
        """Make a call of the script; its keys are all in one slot."""
        return Command(keys, ("EVALSHA", self._sha, len(keys), *keys, *arguments), self)


class Command(NamedTuple):
    """A command whose keys are all in one slot. It may run again when no answer came: all are idempotent."""

    keys: Sequence[str]
    words: tuple[Word, ...]
    script: Script | None = None
    asking: bool = False


class Node:
    """A server, through at most 64 connections, with one deadline over all that an exchange takes, and a circuit breaker.

    There are no retries: reads have the tables to go to, and what writes is sent again by the queue.
    """

    def __init__(self, url: str, name: str) -> None:
        # Waiting for a connection, connecting and each answer are all under the deadline of the exchange. Who waits does so here:
        # the queue of redis-py's blocking pool, a condition, may lose its turn when one who waits gives up (Python before 3.13).
        self._places = asyncio.Semaphore(_CONNECTIONS)
        # Telling the client library's name and version would be two more round trips for each connection.
        options = {"socket_timeout": None, "socket_connect_timeout": None, "driver_info": None}
        pool = ConnectionPool.from_url(url, max_connections=_CONNECTIONS, **options)
        self._redis = Redis.from_pool(pool)
        self._breaker = Breaker(name, _AWAY)
        self._answered = float("-inf")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def run(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Run commands in one round trip, until a time of the event loop's clock. Any of the answers may be an exception."""
        try:
            with self._breaker.call():
                return await self._until(deadline, commands)
        except PASSING as error:
            return [error] * len(commands)

    async def _until(self, deadline: float, commands: Sequence[Command]) -> list[Any]:
        loop = asyncio.get_running_loop()
        began, placed = loop.time(), False
        try:
            async with asyncio.timeout_at(deadline), self._places:
                placed = True
                answers = await self._exchange(commands)
        except TimeoutError as error:
            if loop.time() - deadline > _STALLED:
                raise StalledError("this process had no time to look for the answer") from error
            # A place that came late leaves no time for the answer. That others were answered tells that it was this.
            if not placed or self._answered > began:
                raise CongestedError("too many calls of this process are under way") from error
            raise TimeoutError("no answer in time") from error
        self._answered = loop.time()
        return answers

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        answers = await self._send(commands)
        unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = [commands[number] for number in unknown]
            texts = {command.script.text for command in again if command.script}
            loads = [Command((), ("SCRIPT LOAD", text)) for text in texts]
            for number, answer in zip(unknown, (await self._send([*loads, *again]))[len(loads) :], strict=True):
                answers[number] = answer
        return answers

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            if command.asking:
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*command.words)
        replies = iter(await pipeline.execute(raise_on_error=False))
        answers = [next(replies) if not command.asking else (next(replies), next(replies))[1] for command in commands]
        for answer in answers:
            _check(answer)
        return answers


def _check(answer: object) -> None:
    """Raise an answer that speaks for the whole server, so that it counts for the circuit breaker."""
    if isinstance(answer, _AWAY):
        raise answer
    if isinstance(answer, ResponseError) and str(answer).startswith(_REFUSALS):
        raise RefusedError(str(answer)) from answer
