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

    @property
    def link(self) -> Link | None:
        """The connection, if it is open."""
        return self._link if self._link and self._link.is_open else None

    async def open(self, deadline: float) -> Link:
        """Connect, once for all who wait for it; under the deadline of whoever is first."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline), self._opening:
                if not (link := self.link):
                    link = self._link = await open_link(self._url, deadline)
                return link
        except TimeoutError as error:
            if loop.time() - deadline > STALLED:
                raise StalledError("this process had no time to connect") from error
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        if self._link:
            await self._link.aclose()


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
        line = self._reads
        for command in commands:
            if command.script:
                line = self._scripts
                break
        try:
            with self._breaker.call():
                answers = await _send(line, commands, deadline)
                return answers if line is self._reads else await _with_scripts(line, commands, answers, deadline)
        except PASSING as error:
            return [error] * len(commands)


async def _with_scripts(line: _Line, commands: Sequence[Command], answers: list[Any], deadline: float) -> list[Any]:
    """Run again what failed because the server does not know the script, after telling it."""
    unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        again = [commands[number] for number in unknown]
        texts = {command.script.text for command in again if command.script}
        loads = [Command((), ("SCRIPT", "LOAD", text)) for text in texts]
        for number, answer in zip(unknown, (await _send(line, [*loads, *again], deadline))[len(loads) :], strict=True):
            answers[number] = answer
    return answers


async def _send(line: _Line, commands: Sequence[Command], deadline: float) -> list[Any]:
    words = [command.words for command in commands]
    asking = [number for number, command in enumerate(commands) if command.asking]
    for number in reversed(asking):
        words.insert(number, ("ASKING",))
    answers = await (line.link or await line.open(deadline)).send(words, deadline)
    for number in asking:
        del answers[number]
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
