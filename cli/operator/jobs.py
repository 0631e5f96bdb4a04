"""`feedmesh jobs`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from cli import options
from cli.operator.clients import FanoutClient
from cli.operator.domain import Job
from cli.operator.options import DEFAULT_FANOUT, Fanout, run, seconds, show
from meshkit.ids import MAX_ID

_COLUMNS = ("job", "kind", "author", "chunks", "followers", "delivered", "age")


def jobs(
    job_id: Annotated[
        int | None, typer.Argument(min=1, max=MAX_ID, help="A post's id; without it all running jobs are shown.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show, oldest first.")] = 100,
    fanout: Fanout = DEFAULT_FANOUT,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Show the fan-out jobs that are running, or one: how far each is, and how old the oldest is.

    Posts that fit into one chunk have no job. Exits with 1 if the job asked for does not exist.
    """

    async def main() -> Sequence[Job] | None:
        async with FanoutClient.connect(fanout, data_dir) as client:
            if job_id is None:
                return await client.running_jobs(limit)
            job = await client.job(job_id)
            return [job] if job else None

    found = run(main)
    if found is None:
        typer.echo(f"There is no job {job_id}: the post is not planned yet, fitted into one chunk, or is pulled.")
        raise typer.Exit(1)
    if found:
        show(_COLUMNS, [_row(job) for job in found])
    if job_id is None:
        typer.echo(_lag(found))


def _row(job: Job) -> Sequence[object]:
    age = seconds(job.age_s) if job.running else f"done in {seconds(job.age_s)}"
    chunks = f"{job.done_chunks:,} of {job.chunks:,}"
    return (str(job.job_id), job.kind, str(job.author_id), chunks, job.followers, job.delivered, age)


def _lag(running: Sequence[Job]) -> str:
    if not running:
        return "No job is running."
    return f"{len(running):,} running; lag, the age of the oldest: {seconds(max(job.age_s for job in running))}"
