"""What operators' commands have in common: options, and how they run, fail and show tables."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cli import options
from cli.transport import UnansweredError
from meshkit.errors import DependencyError, FeedmeshError

_Outcome = TypeVar("_Outcome")

Fanout = Annotated[str, typer.Option("--fanout", help="The fan-out service's gRPC address.", envvar="FEEDMESH_FANOUT_ADDRESS")]
Post = Annotated[str, typer.Option("--post", help="The post service's gRPC address.", envvar="FEEDMESH_POST_ADDRESS")]

DEFAULT_FANOUT = "127.0.0.1:50054"
DEFAULT_POST = "127.0.0.1:50052"


def run(main: Callable[[], Coroutine[None, None, _Outcome]]) -> _Outcome:
    """Run a command's coroutine; a service that is away, or refuses, is a sentence on standard error and an exit code."""

    async def told() -> _Outcome:
        try:
            return await main()
        except (DependencyError, FeedmeshError) as error:
            raise UnansweredError(str(error)) from error

    return options.run(told)


def show(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers stand to the right. What is not a terminal gets whole lines."""
    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        is_number = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1_000
    console.print(table)


def seconds(value: float) -> str:
    """Write a duration as people read it."""
    if value < 120:  # noqa: PLR2004  # from two minutes on seconds do not matter
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7_200 else f"{value / 3600:.0f} h"  # noqa: PLR2004  # and from two hours on minutes


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
