"""One Redis or Valkey server: its two connections, scripts, and what its failures mean."""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

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

from timeline_svc.breaker import Breaker, CircuitOpenError
from timeline_svc.redis_connect import open_link
from timeline_svc.redis_link import STALLED, CongestedError, Link, StalledError, Word

# Answers for which redis-py has no class: it cannot save and so takes no writes, lacks replicas, or is in a script without end.
_REFUSALS = ("MISCONF ", "NOREPLICAS ", "BUSY ")


class RefusedError(Exception):
    """The server answers, and serves nobody now."""


# The server is away, for whatever reason: gone, frozen, loading, a replica now, or it does not know us any more. LOADING and
# refused passwords are connection errors, and a deadline that passed is an OSError.
_AWAY = (
    RedisConnectionError,
    OSError,
    InvalidResponse,
    ReadOnlyError,
    ClusterDownError,
    NoPermissionError,
    RefusedError,
)
# What may go well with the next call, or with another one. Any other answer than expected is a bug, and shows as one.
PASSING = (*_AWAY, OutOfMemoryError, TryAgainError, CircuitOpenError, StalledError, CongestedError)


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


class _Line:
    """A connection that is opened when it is needed, and again when it has ended."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._link: Link | None = None
        self._opening = asyncio.Lock()

    async def run(self, commands: Sequence[tuple[Word, ...]], deadline: float) -> list[Any]:
        """Run commands in one round trip."""
        link = self._link
        if link is None or not link.is_open:
            link = await self._open(deadline)
        return await link.send(commands, deadline)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._link:
            await self._link.aclose()

    async def _open(self, deadline: float) -> Link:
        """Connect, once for all who wait for it; under the deadline of whoever is first."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline), self._opening:
                if self._link is None or not self._link.is_open:
                    self._link = await open_link(self._url, deadline)
                return self._link
        except TimeoutError as error:
            if loop.time() - deadline > STALLED:
                raise StalledError("this process had no time to connect") from error
            raise


class Node:
    """A server, with a deadline for each exchange and a circuit breaker.

    It has one connection for reads and one for scripts, so that no read waits behind a push to thousands, which takes the server
    ten milliseconds. There are no retries: reads have the tables to go to, and what writes is sent again by the queue.
    """

    def __init__(self, url: str, name: str) -> None:
        self._reads = _Line(url)
        self._scripts = _Line(url)
        self._breaker = Breaker(name, _AWAY)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._reads.aclose()
        await self._scripts.aclose()

    async def run(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Run commands in one round trip, until a time of the event loop's clock. Any of the answers may be an exception."""
        try:
            with self._breaker.call():
                return await self._exchange(commands, deadline)
        except PASSING as error:
            return [error] * len(commands)

    async def _exchange(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        line = self._scripts if any(command.script for command in commands) else self._reads
        answers = await _send(line, commands, deadline)
        unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = [commands[number] for number in unknown]
            texts = {command.script.text for command in again if command.script}
            loads = [Command((), ("SCRIPT", "LOAD", text)) for text in texts]
            for number, answer in zip(unknown, (await _send(line, [*loads, *again], deadline))[len(loads) :], strict=True):
                answers[number] = answer
        return answers


async def _send(line: _Line, commands: Sequence[Command], deadline: float) -> list[Any]:
    asking = [command.asking for command in commands]
    if not any(asking):
        answers = await line.run([command.words for command in commands], deadline)
    else:
        words = [words for command in commands for words in ((("ASKING",), command.words) if command.asking else (command.words,))]
        replies = iter(await line.run(words, deadline))
        answers = [(next(replies), next(replies))[1] if asked else next(replies) for asked in asking]
    for answer in answers:
        if isinstance(answer, Exception):
            _check(answer)
    return answers


def _check(answer: Exception) -> None:
    """Raise an answer that speaks for the whole server, so that it counts for the circuit breaker."""
    if isinstance(answer, _AWAY):
        raise answer
    if isinstance(answer, ResponseError) and str(answer).startswith(_REFUSALS):
        raise RefusedError(str(answer)) from answer
