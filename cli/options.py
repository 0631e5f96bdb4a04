"""What the sub-commands that talk to a mesh have in common: options, and how they run and fail."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from cli.community import CommunityError
from cli.dev_tokens import TokenError
from cli.journal import JournalError
from cli.seed import SeedError
from cli.transport import AddressError, ApiError, UnansweredError

_Outcome = TypeVar("_Outcome")

FAILED = 2
INTERRUPTED = 130

Url = Annotated[str, typer.Option(help="The gateway's address.", envvar="FEEDMESH_URL")]
DataDir = Annotated[Path, typer.Option(help="The mesh's data folder; its signing keys are in keys/.", file_okay=False)]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", help="What was asked and answered. [default: seed/journal.jsonl in the data folder]")
]
Concurrency = Annotated[int, typer.Option(min=1, max=1_000, help="How many calls at a time.")]
PatienceS = Annotated[float, typer.Option("--patience", min=0, help="Seconds to wait for a gateway that does not answer.")]

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA_DIR = Path(".feedmesh")


def journal_path(journal: Path | None, data_dir: Path) -> Path:
    """Give the journal's path, which by default is in the data folder."""
    return journal or data_dir / "seed" / "journal.jsonl"


def run(main: Callable[[], Coroutine[None, None, _Outcome]], *, when_interrupted: str = "Stopped.") -> _Outcome:
    """Run a command's coroutine; a failure of a kind we know is a sentence on standard error and an exit code, no traceback."""
    console = Console(stderr=True)
    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        console.print(when_interrupted, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except (AddressError, ApiError, CommunityError, JournalError, OSError, SeedError, TokenError, UnansweredError) as error:
        console.print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED) from None
