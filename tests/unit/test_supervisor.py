"""A child process that is kept running."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest

from meshkit.process import Child, ChildError, alone, child
from meshkit.supervisor import supervised

PATIENCE = 20.0


class Children:
    """Starts children, and knows all of them."""

    def __init__(self, log: Path, *commands: list[str]) -> None:
        self.started: asyncio.Queue[Child] = asyncio.Queue()
        self._log = log
        self._commands = iter(commands)

    @asynccontextmanager
    async def start(self) -> AsyncIterator[Child]:
        """Start the next command; it is ready when it says so."""
        offset = self._log.stat().st_size if self._log.exists() else 0

        async def ready() -> bool:
            return b"ready" in self._log.read_bytes()[offset:]

        starting: AbstractAsyncContextManager[Child] = child(
            next(self._commands), name="Oracle", log=self._log, ready=ready, ready_timeout=PATIENCE
        )
        async with starting as running:
            self.started.put_nowait(running)
            yield running

    async def next(self) -> Child:
        """Wait for the next child to be ready."""
        async with asyncio.timeout(PATIENCE):
            return await self.started.get()


GOOD = ["sh", "-c", "echo ready; exec sleep 60"]
BAD = ["sh", "-c", "echo alas; exit 3"]


async def ended(running: Child) -> int:
    """Wait for a child's end."""
    async with asyncio.timeout(PATIENCE):
        return await running.wait()


async def test_a_child_that_is_killed_comes_back(tmp_path: Path) -> None:
    """Every time the child dies another one takes its place, and the last one ends with the block."""
    children = Children(tmp_path / "log", GOOD, GOOD, GOOD)
    async with supervised(children.start):
        pids = []
        for _ in range(2):
            running = await children.next()
            pids.append(running.pid)
            os.kill(running.pid, signal.SIGKILL)
            assert await ended(running) == -signal.SIGKILL
        last = await children.next()
        assert last.pid not in pids
        assert last.process.returncode is None
    assert await ended(last) == -signal.SIGTERM


async def test_the_block_begins_when_the_child_is_ready(tmp_path: Path) -> None:
    """Inside the block the first child is there and ready."""
    children = Children(tmp_path / "log", GOOD)
    async with supervised(children.start):
        assert children.started.get_nowait().process.returncode is None


async def test_a_child_that_never_starts_raises(tmp_path: Path) -> None:
    """When the first start fails the block is never entered, and the error has the child's last words."""
    entered = False
    with pytest.RaisesGroup(pytest.RaisesExc(ChildError, match=r"(?s)ended with status 3.*alas"), allow_unwrapped=True):
        async with supervised(Children(tmp_path / "log", BAD).start):
            entered = True
    assert not entered


async def test_a_child_that_never_starts_raises_what_is_documented(tmp_path: Path) -> None:
    """The error is a ChildError itself, as the docstring says."""
    with pytest.raises(ChildError):
        async with supervised(Children(tmp_path / "log", BAD).start):
            pass


async def test_a_child_that_cannot_come_back_is_tried_again(tmp_path: Path) -> None:
    """When the child cannot be started again at once, it is tried until it can."""
    children = Children(tmp_path / "log", GOOD, BAD, GOOD)
    async with supervised(children.start):
        os.kill((await children.next()).pid, signal.SIGKILL)
        assert (await children.next()).process.returncode is None


async def test_a_full_disk_does_not_end_the_block(tmp_path: Path) -> None:
    """A child that cannot be started again because the system refuses something is tried again as well."""
    children = Children(tmp_path / "log", GOOD, GOOD)
    refusals = iter([False, True, False])

    @asynccontextmanager
    async def start() -> AsyncIterator[Child]:
        if next(refusals):
            raise OSError(errno.ENOSPC, "no space left on device")
        async with children.start() as running:
            yield running

    async with supervised(start):
        os.kill((await children.next()).pid, signal.SIGKILL)
        assert (await children.next()).process.returncode is None


async def test_a_restart_replaces_the_child_in_order(tmp_path: Path) -> None:
    """A restart asks the child to stop, and ends when its successor is ready."""
    children = Children(tmp_path / "log", GOOD, GOOD)
    async with supervised(children.start) as (running,):
        first = await children.next()
        async with asyncio.timeout(PATIENCE):
            await running.restart()
        assert (await ended(first), children.started.get_nowait().process.returncode) == (-signal.SIGTERM, None)


async def test_children_start_together(tmp_path: Path) -> None:
    """The block begins when all children are ready, and every one is kept running."""
    children = Children(tmp_path / "log", GOOD, GOOD, GOOD)
    async with supervised(children.start, children.start) as group:
        assert len(group) == children.started.qsize() == 2
        os.kill((await children.next()).pid, signal.SIGKILL)
        await children.next()
        assert (await children.next()).process.returncode is None


async def test_the_blocks_own_error_ends_the_child(tmp_path: Path) -> None:
    """An error inside the block gets out, and the child ends all the same."""
    children = Children(tmp_path / "log", [sys.executable, "-c", "print('ready', flush=True); import signal; signal.pause()"])
    with pytest.RaisesGroup(LookupError, allow_unwrapped=True):
        async with supervised(children.start):
            running = await children.next()
            raise LookupError
    assert await ended(running) == -signal.SIGTERM


async def test_a_successor_waits_for_who_holds_the_data(tmp_path: Path) -> None:
    """A program that is to run alone begins when the one before it has ended, however that ended."""
    log, lock = tmp_path / "log", tmp_path / "lock"

    async def ready() -> bool:
        return b"ready" in log.read_bytes()

    async def second_ready() -> bool:
        return b"second" in log.read_bytes()

    async with child(alone(lock, GOOD), name="Oracle", log=log, ready=ready) as first:
        # A process that has ended has no program any more, though its number is taken until its parent asks for it.
        command = ["sh", "-c", f"test -e /proc/{first.pid}/exe && echo too early; echo second; exec sleep 60"]
        second = child(alone(lock, command), name="Oracle", log=log, ready=second_ready, ready_timeout=PATIENCE)
        async with asyncio.TaskGroup() as group:
            started = group.create_task(second.__aenter__())
            async with asyncio.timeout(PATIENCE):
                while len(list(_holders(lock))) != 2:  # noqa: ASYNC110  # nobody tells that it waits
                    await asyncio.sleep(0)
                for _ in range(100):
                    assert not await second_ready()
            os.kill(first.pid, signal.SIGKILL)
        assert started.result().process.returncode is None
        await second.__aexit__(None, None, None)
    assert b"too early" not in log.read_bytes()


def _holders(lock: Path) -> Iterator[Path]:
    """Give the processes that have a file open."""
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if any(descriptor.samefile(lock) for descriptor in (process / "fd").iterdir()):
                yield process
