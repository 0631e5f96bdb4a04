"""`feedmesh verify`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from cli import options
from cli.client import Client
from cli.dev_tokens import minter
from cli.feeds import Difference
from cli.journal import read
from cli.progress import ConsoleReporter
from cli.seed import check_mesh
from cli.transport import Patience
from cli.verify import Result
from cli.verify import verify as check

_TOKEN_LIFETIME = timedelta(days=1)
_SHOWN_PER_USER = 5
_SHOWN_USERS = 20


def verify(
    settle: Annotated[float, typer.Option(min=0, help="Seconds to read feeds again from which something is missing.")] = 60,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write every difference to this file, as JSON lines.")] = None,
    url: options.Url = options.DEFAULT_URL,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    journal: options.JournalFile = None,
    concurrency: options.Concurrency = 16,
    patience: options.PatienceS = 150,
) -> None:
    """Read every seeded user's feed to its end and compare it with what the journal says it must hold.

    Prints every difference; exits with 1 if there is one, and with 2 if the feeds could not be read at all.
    """

    async def main() -> Result:
        facts = read(options.journal_path(journal, data_dir))
        mint = minter(data_dir, lifetime=_TOKEN_LIFETIME)
        reporter = ConsoleReporter(Console(stderr=True))
        async with Client.connect(url, connections=concurrency, patience=Patience(call_s=patience)) as client:
            await check_mesh(client, mint, facts)
            return await check(client, mint, facts, concurrency=concurrency, settle_s=settle, report=reporter)

    result = options.run(main)
    if report is not None:
        report.write_bytes(_report(result))
    for line in (*_shown(result.differences), *_totals(result)):
        typer.echo(line)
    if result.differences:
        raise typer.Exit(1)


def _report(result: Result) -> bytes:
    """Give totals as the first line, and then every difference as a line."""
    totals = {name: value for name, value in asdict(result).items() if name != "differences"}
    totals["differences"] = len(result.differences)
    return b"".join(msgspec.json.encode(line) + b"\n" for line in (totals, *result.differences))


def _shown(differences: Sequence[Difference]) -> list[str]:
    lines = []
    by_user = [list(group) for _, group in groupby(differences, key=lambda difference: difference.user_id)]
    for group in by_user[:_SHOWN_USERS]:
        lines += [_line(difference) for difference in group[:_SHOWN_PER_USER]]
        if len(group) > _SHOWN_PER_USER:
            lines.append(f"  ... and {len(group) - _SHOWN_PER_USER:,} more of {group[0].username}")
    if len(by_user) > _SHOWN_USERS:
        lines.append(f"... and those of {len(by_user) - _SHOWN_USERS:,} more users: --report FILE has them all")
    return lines


def _line(difference: Difference) -> str:
    post = f" {difference.post_id}" if difference.post_id else ""
    return f"{difference.username} (user {difference.user_id}): {difference.kind}{post}: {difference.detail}"


def _totals(result: Result) -> list[str]:
    lines = [f"Read {result.users:,} feeds: {result.pages:,} pages, {result.items:,} items in {result.seconds:.1f} s."]
    if result.late_users:
        lines.append(f"{result.late_users:,} feeds were complete only later; the last was after {result.settled_s:.1f} s.")
    if result.posts_found:
        lines.append(f"{result.posts_found:,} posts that were never acknowledged exist, as they may.")
    kinds = Counter(str(difference.kind) for difference in result.differences)
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    lines.append(f"{len(result.differences):,} differences{': ' + told if told else '.'}")
    return lines
