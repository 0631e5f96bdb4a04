"""A private PostgreSQL server, set up as one would for reads: all in memory, on a socket that only its owner may open."""

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from meshkit.process import ChildError, child

USER = "bench"
_DEBIAN = Path("/usr/lib/postgresql")
_INSTALL = "PostgreSQL is not installed. On Debian: sudo scripts/install-bench-tools. Elsewhere install its server, 14 or later"
_READY_S = 30.0
_LAYOUT = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "effective_cache_size": "2GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "random_page_cost": "1.1",
    # Nothing is to survive, and compiling takes longer than these queries.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    "jit": "off",
}


@asynccontextmanager
async def private_postgres() -> AsyncIterator[str]:
    """Run a server for the length of a block, and give its URL. Raises ChildError when it does not start.

    It refuses to run as root, and runs as `nobody` then.
    """
    # Not below the bench's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="feedmesh-postgres-", ignore_cleanup_errors=True) as path:
        folder = Path(path)
        prefix = _as_other_user(folder)
        await _run([*prefix, _program("initdb"), f"--pgdata={folder}/data", f"--username={USER}", *_LAYOUT], folder)
        flags = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        argv: list[str | Path] = [*prefix, _program("postgres"), "-D", folder / "data", "-k", folder, *flags]
        url = f"postgresql://{USER}@/postgres?host={folder}"
        async with child(
            argv,
            name="PostgreSQL",
            log=folder / "log",
            ready=lambda: _answers(url),
            ready_timeout=_READY_S,
            orphan_signal=signal.SIGINT,  # killed, it would leave its children and its shared memory
        ):
            yield url


async def postgres_version() -> str:
    """Give the version of the server that would run. Raises ChildError when there is none."""
    return (await _run([_program("postgres"), "--version"], Path("/"))).split()[2]


def _program(name: str) -> Path:
    """Find a program. Debian keeps those of each release in a folder of its own."""
    newest = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = newest[-1] if newest else shutil.which(name)
    if not found:
        raise ChildError(_INSTALL)
    return Path(found)


def _as_other_user(folder: Path) -> list[str]:
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=keep"]


async def _run(argv: Sequence[str | Path], folder: Path) -> str:
    running = await asyncio.create_subprocess_exec(
        *argv, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await running.communicate()
    if running.returncode:
        raise ChildError(f"{argv[-1]} failed: {output.decode()}")
    return output.decode()


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True
