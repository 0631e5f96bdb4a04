"""`feedmesh up`."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli import options
from cli.demo import prepare_demo
from cli.mesh import MeshOptions, running_mesh
from cli.transport import ApiError, UnansweredError
from meshkit.errors import FeedmeshError
from meshkit.lifecycle import run, stop_signal
from meshkit.process import ChildError
from meshkit.telemetry import configure_logging


class AlreadyRunningError(Exception):
    """Another mesh uses the data folder."""


def up(
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    host: Annotated[str, typer.Option(help="Address that the gateway listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The gateway's port; 0 takes a free one.")] = 8080,
    *,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Put the services on free ports, not 50051 to 50054.")] = False,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="A web origin that browsers may call from; may be repeated.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error; logs go to standard error.")] = "warning",
) -> None:
    """Start the whole mesh on this machine and print how to use it. Ctrl-C stops it; its data stays."""
    configure_logging(log_level)
    wanted = MeshOptions(data_dir.absolute(), host, port, fixed_ports=not free_ports, cors_origins=tuple(cors_origin or ()))
    try:
        with _only_one(wanted.data_dir):
            run(_run(wanted, data_dir))
    except (ChildError, OSError, AlreadyRunningError, ValueError, FeedmeshError, ApiError, UnansweredError) as failure:
        Console(stderr=True).print(f"feedmesh: {failure}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(options.FAILED) from None


async def _run(wanted: MeshOptions, shown_data_dir: Path) -> None:
    stop = stop_signal()
    async with running_mesh(wanted) as mesh:
        typer.echo(mesh.url)
        typer.echo(await prepare_demo(mesh, shown_data_dir))
        await stop.wait()
        typer.echo("Stopping ...")
    typer.echo("Stopped. The data is kept; start again to go on.")


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Keep a second mesh off the same data folder."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                f"a mesh is running on {data_dir} already: stop it, or give --data-dir another folder"
            ) from None
        yield
