"""A mesh on real engines through restarts and crashes of its parts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from cli.parts import Mesh
from tests.mesh.commands import flush, journal_has, printed, run, start, up
from tests.mesh.conftest import People, eventually
from tests.mesh.load import load

SEED = ("--users", "60", "--follows", "12", "--posts", "1500")
SERVICES = ("graph_svc", "post_svc", "timeline_svc", "fanout_svc")


def children(pid: int) -> Iterator[int]:
    """Give the processes that a process started, and theirs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from children(child)


def named(pid: int, name: str) -> list[int]:
    """Give those of a process's children whose command line has a word."""
    return [child for child in children(pid) if name in Path(f"/proc/{child}/cmdline").read_text().split("\0")]


def broker(pid: int, folder: Path) -> int:
    """Give the process of the RabbitMQ that keeps its data in a folder."""
    place = f"={folder}/rabbitmq/data".encode()
    found = (child for child in children(pid) if "beam" in Path(f"/proc/{child}/comm").read_text())
    return next(child for child in found if place in Path(f"/proc/{child}/environ").read_bytes())


async def _ended(pid: int) -> bool:
    return not await asyncio.to_thread(Path(f"/proc/{pid}").exists)


@asynccontextmanager
async def broker_down(folder: Path) -> AsyncIterator[None]:
    """Stop a mesh's RabbitMQ for the length of a block: it is started again and again, and refuses its configuration."""
    settings = folder / "rabbitmq" / "rabbitmq.conf"
    good = settings.read_text()
    settings.write_text("no such setting = 1\n")
    try:
        # Asked, not killed: a queue that was made a moment ago would not survive that.
        running = broker(os.getpid(), folder)
        os.kill(running, signal.SIGTERM)
        await eventually(partial(_ended, running), seconds=60)
        yield
    finally:
        settings.write_text(good)


async def test_kills_restarts_and_a_flush_during_seeding(tmp_path: Path) -> None:
    """After kill -9 of each service, a restart of RabbitMQ and an empty Redis, all while posts are made, every feed is exact."""
    async with up(tmp_path, 0, "--engines", "real") as (url, process):
        lines = await printed(process, "Ctrl-C stops")
        seeding = await start("seed", "--data-dir", str(tmp_path), "--url", url, *SEED)
        await journal_has(tmp_path, '["p",', 100)
        for number, service in enumerate(SERVICES, start=2):
            os.kill(named(process.pid, service)[0], signal.SIGKILL)
            await journal_has(tmp_path, '["p",', 100 * number)
        os.kill(broker(process.pid, tmp_path), signal.SIGTERM)
        await journal_has(tmp_path, '["p",', 900)
        await flush(lines)
        output, _ = await asyncio.wait_for(seeding.communicate(), 240)
        assert seeding.returncode == 0, output
        code, report = await run("verify", "--data-dir", str(tmp_path), "--url", url)
        assert (code, "\n0 differences" in report) == (0, True), report


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("mesh", ["real"], indirect=True)
async def test_a_rolling_restart_fails_no_request(mesh: Mesh, someone: People) -> None:
    """While every process is replaced, each of 150 requests a second is answered well, and each post is delivered."""
    reader, *authors = [await someone() for _ in range(11)]
    for author in authors:
        await reader.follow(author)
    assert mesh.services.restart
    async with load(authors, reader, per_second=150) as outcome:
        await mesh.services.restart()
    assert outcome.failures == []
    posted = sorted(outcome.posted, key=int, reverse=True)
    assert len(posted) > 100

    async def all_there() -> bool:
        return await reader.whole_feed(page_size=100) == posted

    await eventually(all_there, seconds=10)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("mesh", ["real"], indirect=True)
async def test_posts_are_accepted_while_the_broker_is_down(mesh: Mesh, someone: People) -> None:
    """Every post that is made while RabbitMQ cannot start is accepted, and in the follower's feed within a minute of its return."""
    reader, author = await someone(), await someone()
    await reader.follow(author)
    assert await reader.feed() == []
    async with broker_down(mesh.data_dir):
        posted = [await author.publish(f"number {number}") for number in range(50)]
        assert await reader.feed() == []

    async def delivered() -> bool:
        return await reader.whole_feed(page_size=100) == posted[::-1]

    await eventually(delivered, seconds=60)
