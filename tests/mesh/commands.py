"""The `feedmesh` command as a person runs it: as a process, killed and started again."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from tests.mesh.conftest import eventually

FEEDMESH = (sys.executable, "-m", "cli")


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start the command."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*FEEDMESH, *arguments, stdout=pipe, stderr=asyncio.subprocess.STDOUT)


async def run(*arguments: str) -> tuple[int, str]:
    """Run the command to its end; give its exit code and what it printed."""
    process = await start(*arguments)
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode or 0, output.decode()


async def line(process: asyncio.subprocess.Process) -> str:
    """Give the next line that a command prints."""
    assert process.stdout
    text = await asyncio.wait_for(process.stdout.readline(), 90)
    assert text, "the command ended"
    return text.decode().rstrip()


async def printed(process: asyncio.subprocess.Process, last: str) -> list[str]:
    """Give what a command prints up to a line that contains some words."""
    lines = [await line(process)]
    while last not in lines[-1]:
        lines.append(await line(process))
    return lines


@asynccontextmanager
async def up(folder: Path, port: int = 0, *options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run `feedmesh up` and give its address and process; it is stopped at the end unless it is dead."""
    process = await start("up", "--data-dir", str(folder), "--free-ports", "--port", str(port), *options)
    try:
        yield await line(process), process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.communicate(), 60)


async def journal_has(folder: Path, answer: str, count: int = 200) -> None:
    """Wait until so many answers of a kind are noted."""
    journal = folder / "seed" / "journal.jsonl"

    def noted() -> bool:
        return journal.exists() and journal.read_text().count(answer) >= count

    await eventually(partial(asyncio.to_thread, noted), seconds=120)


async def flush(lines: list[str]) -> None:
    """Empty the Valkey that a mesh's text names."""
    url = next(text for text in lines if "Valkey" in text).rpartition(" ")[2]
    async with Redis.from_url(url) as redis:
        assert await redis.flushall()
