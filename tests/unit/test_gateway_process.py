"""Child processes, and the gateway as a program of its own."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from gateway import descriptors
from gateway.routes import methods
from meshkit.issuer import Issuer
from meshkit.process import ChildError, child


async def at_once() -> bool:
    """Be ready."""
    return True


async def never() -> bool:
    """Not be ready."""
    return False


async def test_a_child_runs_for_the_block_and_ends_with_it(tmp_path: Path) -> None:
    """SIGTERM ends a child at the end of the block."""
    async with child(["sleep", "60"], name="sleep", log=tmp_path / "log", ready=at_once) as running:
        assert running.process.returncode is None
    assert await running.wait() == -signal.SIGTERM


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """After the grace comes SIGKILL."""
    log = tmp_path / "log"
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"

    async def deaf() -> bool:
        return "deaf" in log.read_text()

    async with child([sys.executable, "-c", code], name="deaf", log=log, ready=deaf, grace=0.1) as running:
        pass
    assert await running.wait() == -signal.SIGKILL


async def test_a_child_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    """The error has the name, the status and the end of the log."""
    with pytest.raises(ChildError, match=r"(?s)Oracle ended with status 3 before it was ready.*alas"):
        async with child(["sh", "-c", "echo alas; exit 3"], name="Oracle", log=tmp_path / "log", ready=never):
            pass


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    """Readiness has a time limit, and the child is gone after it."""
    with pytest.raises(ChildError, match=r"was not ready after 0\.1 seconds"):
        async with child(["sleep", "60"], name="sleep", log=tmp_path / "log", ready=never, ready_timeout=0.1):
            pass


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing program is an error that names it."""
    with pytest.raises(ChildError, match="no-such-program is not a program"):
        async with child(["no-such-program"], name="Nobody", log=tmp_path / "log", ready=at_once):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """After `kill -9` of the parent no child is left."""
    code = f"""
import asyncio
from pathlib import Path
from meshkit.process import child
async def at_once(): return True
async def main():
    async with child(["sh", "-c", "echo up; sleep 60"], name="x", log=Path({str(tmp_path / "log")!r}), ready=at_once) as running:
        print(running.pid, flush=True)
        await running.wait()
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout
    pid = int(await parent.stdout.readline())
    async with asyncio.timeout(10):
        while not (tmp_path / "log").read_text():
            await asyncio.to_thread(os.sched_yield)
        parent.kill()
        await parent.wait()
        while is_running(pid):
            await asyncio.to_thread(os.sched_yield)


async def test_the_gateway_runs_alone_from_its_environment(tmp_path: Path) -> None:
    """`python -m gateway` prints its address, answers there, and ends with status 0 on SIGTERM."""
    Issuer.load_or_create(tmp_path)
    upstreams = ",".join(
        f'"{service}":"127.0.0.1:9,127.0.0.1:10"' for service in {method.service for method in methods(descriptors.load())}
    )
    environment = {
        **os.environ,
        "FEEDMESH_GATEWAY_PORT": "0",
        "FEEDMESH_GATEWAY_UPSTREAMS": f"{{{upstreams}}}",
        "FEEDMESH_GATEWAY_JWKS_FILE": str(tmp_path / "jwks.json"),
        "FEEDMESH_GATEWAY_FOLDER": str(tmp_path / "run"),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        async with aiohttp.ClientSession() as session, session.get(f"{url}/openapi.json") as answer:
            assert answer.status == 200
    finally:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_the_gateway_says_which_setting_is_missing(tmp_path: Path) -> None:
    """Without its settings the program ends with status 1 and their names."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env={"PATH": os.environ["PATH"]}, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert b"upstreams" in said
    assert b"jwks_file" in said


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
