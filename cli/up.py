"""`feedmesh up`, and `feedmesh restart` for a mesh that is up."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cli import options
from cli.demo import prepare_demo
from cli.mesh import running_mesh
from cli.parts import Engines, MeshOptions
from cli.transport import ApiError, UnansweredError
from meshkit.errors import FeedmeshError
from meshkit.lifecycle import run, stop_signal
from meshkit.process import ChildError
from meshkit.telemetry import configure_logging

# Not SIGHUP, which a terminal sends when it is closed.
_RESTART = signal.SIGUSR1


class AlreadyRunningError(Exception):
    """Another mesh uses the data folder."""


def up(
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    host: Annotated[str, typer.Option(help="Address that the gateway listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The gateway's port; 0 takes a free one.")] = 8080,
    *,
    engines: Annotated[
        Engines,
        typer.Option(
            help="embedded: everything in one process, on SQLite. "
            "real: private RabbitMQ, Valkey and DynamoDB-compatible server, and each service in processes of its own."
        ),
    ] = "embedded",
    processes: Annotated[int, typer.Option(min=1, max=9, help="Processes of each service, with real engines.")] = 2,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Put the services on free ports, not 50051 to 50054.")] = False,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="A web origin that browsers may call from; may be repeated.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error; logs go to standard error.")] = "warning",
) -> None:
    """Start the whole mesh on this machine and print how to use it. Ctrl-C stops it; its data stays."""
    configure_logging(log_level)
    wanted = MeshOptions(
        data_dir.absolute(),
        host,
        port,
        fixed_ports=not free_ports,
        cors_origins=tuple(cors_origin or ()),
        engines=engines,
        processes=processes,
    )
    try:
        with _only_one(wanted.data_dir, engines):
            run(_run(wanted, data_dir))
    except (ChildError, OSError, AlreadyRunningError, ValueError, FeedmeshError, ApiError, UnansweredError) as failure:
        _fail(str(failure))


def restart(data_dir: options.DataDir = options.DEFAULT_DATA_DIR) -> None:
    """Replace every process of a mesh with real engines while it serves: of each service one after the other.

    It does not wait: `feedmesh up` says when it is done.
    """
    try:
        with (data_dir / "lock").open() as lock:
            if _taken(lock.fileno(), fcntl.LOCK_SH):
                _fail(f"no mesh is running on {data_dir}")
            pid, engines = lock.read().split()
    except (OSError, ValueError):
        _fail(f"no mesh is running on {data_dir}")
    if engines == "embedded":
        _fail("the services of this mesh share one process, which nothing could stand in for: use feedmesh up --engines real")
    os.kill(int(pid), _RESTART)
    typer.echo("Asked the mesh to replace its processes; it goes on serving.")


async def _run(wanted: MeshOptions, shown_data_dir: Path) -> None:
    """Serve until SIGINT or SIGTERM, which end a start as well."""
    stop, restarts = stop_signal(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(_RESTART, restarts.set)
    serving, stopping = asyncio.ensure_future(_serve(wanted, shown_data_dir, restarts)), asyncio.ensure_future(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not serving.done():
        typer.echo("Stopping ...")
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    typer.echo("Stopped. The data is kept; start again to go on.")


async def _serve(wanted: MeshOptions, shown_data_dir: Path, restarts: asyncio.Event) -> NoReturn:
    async with running_mesh(wanted) as mesh:
        typer.echo(mesh.url)
        typer.echo(await prepare_demo(mesh, shown_data_dir))
        while True:
            await restarts.wait()
            restarts.clear()
            if mesh.services.restart:
                await mesh.services.restart()
                typer.echo("Every service process was replaced.")
            else:
                typer.echo("Not restarted: that takes two processes of each service.")


@contextmanager
def _only_one(data_dir: Path, engines: Engines) -> Iterator[None]:
    """Keep a second mesh off the same data folder, and note which process has it."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "lock").open("a+") as lock:
        if not _taken(lock.fileno(), fcntl.LOCK_EX):
            raise AlreadyRunningError(f"a mesh is running on {data_dir} already: stop it, or give --data-dir another folder")
        lock.truncate(0)
        lock.write(f"{os.getpid()} {engines}")
        lock.flush()
        yield


def _taken(lock: int, how: int) -> bool:
    """Take the lock unless somebody else has it."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fail(why: str) -> NoReturn:
    Console(stderr=True).print(f"feedmesh: {why}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(options.FAILED) from None
