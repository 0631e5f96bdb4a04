"""`feedmesh seed`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli import options
from cli.client import Client
from cli.community import Plan, from_edges, generated
from cli.dev_tokens import minter
from cli.journal import Journal
from cli.progress import ConsoleReporter
from cli.seed import Summary
from cli.seed import seed as fill
from cli.transport import Patience

_TOKEN_LIFETIME = timedelta(days=7)


def seed(  # noqa: PLR0913, PLR0917  # one parameter an option
    users: Annotated[int, typer.Option(min=1, help="How many users to generate. Not with --edges.")] = 200,
    follows: Annotated[int, typer.Option(min=0, help="How many accounts a generated user follows on joining.")] = 10,
    posts: Annotated[int, typer.Option(min=0, help="How many posts; few authors write most of them.")] = 1_000,
    edges: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A graph to use instead: one `a b` pair a line, followed both ways."),
    ] = None,
    directed: Annotated[bool, typer.Option("--directed", help="In --edges, only `a` follows `b`.")] = False,  # noqa: FBT002
    prefix: Annotated[str, typer.Option(help="Begins every username: give another one to seed the same mesh again.")] = "",
    random_seed: Annotated[int, typer.Option(help="Another number gives another community.")] = 1,
    url: options.Url = options.DEFAULT_URL,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    journal: options.JournalFile = None,
    concurrency: options.Concurrency = 32,
    patience: options.PatienceS = 150,
) -> None:
    """Fill a running mesh with a community: users, follows and posts.

    Every call and every answer is noted in a journal, by which `feedmesh verify` judges the mesh. A seed that was stopped goes on
    where it was when the same command is run again.
    """
    path = options.journal_path(journal, data_dir)

    async def main() -> Summary:
        plan = _plan(users, follows, posts, edges, directed=directed, prefix=prefix, random_seed=random_seed)
        mint = minter(data_dir, lifetime=_TOKEN_LIFETIME)
        reporter = ConsoleReporter(Console(stderr=True))
        with Journal.open(path) as opened:
            async with Client.connect(url, connections=concurrency, patience=Patience(call_s=patience)) as client:
                return await fill(client, mint, plan, opened, concurrency=concurrency, report=reporter)

    summary = options.run(main, when_interrupted="Stopped. The same command goes on from here.")
    typer.echo(_told(summary, path))


def _plan(users: int, follows: int, posts: int, edges: Path | None, *, directed: bool, prefix: str, random_seed: int) -> Plan:
    if edges is not None:
        return from_edges(edges, posts=posts, directed=directed, prefix=prefix, seed=random_seed)
    return generated(users=users, follows_per_user=follows, posts=posts, prefix=prefix, seed=random_seed)


def _told(summary: Summary, path: Path) -> str:
    if not (summary.users or summary.follows or summary.posts):
        told = (
            f"Nothing to do: {path} says that all of this is there already. Another --prefix and --journal make another community."
        )
    else:
        told = (
            f"Seeded {summary.users:,} users, {summary.follows:,} follows and {summary.posts:,} posts in {summary.seconds:.1f} s. "
            f"Journal: {path}"
        )
    if summary.posts_in_doubt:
        told += f"\n{summary.posts_in_doubt:,} posts were asked for over a day ago without an answer, and stay in doubt."
    return told
