"""A mesh as `feedmesh up` runs it, from a source tree: started, killed, stopped, and its processes found."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Literal, Self

import aiohttp

from meshkit.process import Child, child
from meshkit.sockets import free_port

Engines = Literal["embedded", "real"]

_READY_S = {"embedded": 30.0, "real": 120.0}
_STOP_S = 90.0
_HEALTHY = 200


class WrongTreeError(Exception):
    """Other code would run than was wanted."""


class Mesh:
    """One mesh on a data folder. Its address stays the same when it is started again."""

    def __init__(self, tree: Path, data: Path, engines: Engines, settings: Mapping[str, str]) -> None:
        self.data = data
        self.engines = engines
        self._tree = tree.resolve()
        self._port = free_port()
        self._settings = dict(settings)
        self._running = AsyncExitStack()
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The gateway's base URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process that runs all others."""
        if self._child is None:
            raise ProcessLookupError("the mesh does not run")
        return self._child.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        await self.stop()

    async def start(self) -> None:
        """Start it, and wait until the gateway says that all services serve. Raises ChildError, or WrongTreeError."""
        await self._check_tree()
        self.data.mkdir(parents=True, exist_ok=True)
        up = ["up", "--data-dir", str(self.data), "--free-ports", "--port", str(self._port), "--engines", self.engines]
        running = child(
            [sys.executable, "-m", "cli", *up],
            name="feedmesh up",
            log=self.data.parent / "mesh.log",
            ready=self.serving,
            ready_timeout=_READY_S[self.engines],
            grace=_STOP_S,
            env=self._environment(),
        )
        self._child = await self._running.enter_async_context(running)

    async def _check_tree(self) -> None:
        """Make sure that a process with this environment runs the code of this tree, and no other that is installed."""
        where = "import cli, meshkit, feed.post.v1.post_pb2 as gen; print(cli.__file__, meshkit.__file__, gen.__file__, sep='\\n')"
        pipe = asyncio.subprocess.PIPE
        asked = await asyncio.create_subprocess_exec(sys.executable, "-c", where, env=self._environment(), stdout=pipe)
        output, _ = await asked.communicate()
        files = output.decode().splitlines()
        if not files or not all(Path(file).is_relative_to(self._tree) for file in files):
            raise WrongTreeError(f"not of {self._tree}: {files}")

    async def stop(self) -> None:
        """Stop it in order."""
        await self._running.aclose()
        self._child = None

    async def kill(self) -> None:
        """Kill it, and with it all that it started."""
        os.kill(self.pid, signal.SIGKILL)
        await self.stop()

    async def restart_processes(self) -> None:
        """Have every service process replaced, one of each service at a time; it does not wait."""
        restart = [sys.executable, "-m", "cli", "restart", "--data-dir", str(self.data)]
        await (await asyncio.create_subprocess_exec(*restart, env=self._environment(), stdout=asyncio.subprocess.DEVNULL)).wait()

    async def serving(self) -> bool:
        """Whether the gateway says that all services serve."""
        try:
            limit = aiohttp.ClientTimeout(total=2)
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(f"{self.url}/healthz") as answer:
                return answer.status == _HEALTHY
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def processes(self, *words: str) -> list[int]:
        """Find running processes of the mesh by words of their command lines."""
        return [pid for pid in _descendants(self.pid) if all(word in _command(pid) for word in words)]

    def log(self) -> str:
        """Give the end of what it printed, without the tokens that it prints."""
        path = self.data.parent / "mesh.log"
        return path.read_text(errors="replace")[-2_000:] if path.exists() else ""

    def _environment(self) -> dict[str, str]:
        # Without the safe path, the current folder would come before the tree.
        paths = {"PYTHONPATH": f"{self._tree}{os.pathsep}{self._tree / 'gen'}", "PYTHONSAFEPATH": "1"}
        return {**os.environ, **self._settings, **paths}


def setting_of(pid: int, name: str) -> str:
    """Give a variable of a process's environment; empty when it has none."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            key, _, value = entry.decode(errors="replace").partition("=")
            if key == name:
                return value
    return ""


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for started in map(int, (task / "children").read_text().split()):
                yield started
                yield from _descendants(started)
