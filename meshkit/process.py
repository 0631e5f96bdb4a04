"""Child processes: started with a check that they work, ended with their parent, watched while they run."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

_FIRST_POLL_SECONDS = 0.02
_POLL_SECONDS = 0.25
_TAIL_BYTES = 2_000
# Asks the kernel for a signal at the parent's death, and leaves at once if that came first.
_TIE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]))  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[3], sys.argv[3:])
"""


# Waits until nobody else holds a file, and holds it as long as the program runs that it becomes.
_ALONE = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
os.set_inheritable(lock, True)
os.execvp(sys.argv[2], sys.argv[2:])
"""
_log = structlog.get_logger(__name__)


class ChildError(Exception):
    """A child process did not start, or ended when it should not have. The message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process."""

    name: str
    log: Path
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    async def wait(self) -> int:
        """Wait for its end and return its exit status; negative for a signal."""
        return await self.process.wait()

    def failure(self, what: str) -> ChildError:
        """Describe what went wrong, with the end of the log."""
        return ChildError(f"{self.name} {what}. The end of its log, {self.log}:\n{_tail(self.log)}")


@asynccontextmanager
async def child(
    argv: Sequence[str | os.PathLike[str]],
    *,
    name: str,
    log: Path,
    ready: Callable[[], Awaitable[bool]],
    ready_timeout: float = 10.0,
    grace: float = 5.0,
    env: Mapping[str, str] | None = None,
    orphan_signal: signal.Signals = signal.SIGKILL,
) -> AsyncIterator[Child]:
    """Run a process for the length of a block, which begins when `ready` is true.

    Its output is appended to `log`. Ctrl-C in the terminal does not reach it. At the end of the block it gets SIGTERM, and SIGKILL
    `grace` seconds later. On Linux it gets `orphan_signal` when its parent dies, however that happens.

    Raises:
        ChildError: it could not be started, ended before it was ready, or was not ready within `ready_timeout` seconds.
    """
    started = Child(name, log, await _start(argv, name, log, env, orphan_signal))
    try:
        await _await_ready(started, ready, ready_timeout)
        yield started
    finally:
        await asyncio.shield(_stop(started, grace))


def alone(lock: Path, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Give a command that runs a program while no other holds the lock file: so a successor waits for who still writes its data."""
    return [sys.executable, "-I", "-S", "-c", _ALONE, os.fspath(lock), *(os.fspath(word) for word in argv)]


async def _start(
    argv: Sequence[str | os.PathLike[str]], name: str, log: Path, env: Mapping[str, str] | None, orphan_signal: signal.Signals
) -> asyncio.subprocess.Process:
    if not shutil.which(argv[0]):
        raise ChildError(f"{name} cannot be started: {os.fspath(argv[0])} is not a program")
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *_bound(argv, orphan_signal),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
        )


def _bound(argv: Sequence[str | os.PathLike[str]], orphan_signal: signal.Signals) -> list[str]:
    """Have a small program tie itself to this process and become the one wanted.

    The usual hook between fork and exec would run with gRPC's threads half copied.
    """
    if sys.platform != "linux":
        return [os.fspath(word) for word in argv]
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), str(orphan_signal.value), *(os.fspath(word) for word in argv)]


async def _await_ready(started: Child, ready: Callable[[], Awaitable[bool]], ready_timeout: float) -> None:
    ended = asyncio.ensure_future(started.wait())
    try:
        async with asyncio.timeout(ready_timeout):
            pause = _FIRST_POLL_SECONDS
            while not await ready():
                await asyncio.wait((ended,), timeout=pause)
                pause = min(_POLL_SECONDS, 2 * pause)
                if ended.done():
                    raise started.failure(f"ended with status {ended.result()} before it was ready")
    except TimeoutError as error:
        raise started.failure(f"was not ready after {ready_timeout:g} seconds") from error
    finally:
        ended.cancel()


async def _stop(child: Child, grace: float) -> None:
    process = child.process
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        _log.error("child process did not stop in time and was killed", child=child.name, seconds=grace)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
