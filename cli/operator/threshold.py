"""`feedmesh threshold`."""

from typing import Annotated

import typer

from cli import options
from cli.operator.clients import FanoutClient
from cli.operator.domain import ThresholdPreview
from cli.operator.options import DEFAULT_FANOUT, Fanout, run, show

_COLUMNS = ("author", "followers", "active", "posts a day", "now", "then")


def threshold(
    followers: Annotated[
        int, typer.Argument(min=0, max=2**32 - 1, help="Active followers; 0 is the threshold that is set.", metavar="[N]")
    ] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Most authors to show, largest first; the sums count up to 1,000.")] = 20,
    fanout: Fanout = DEFAULT_FANOUT,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Show what a threshold between push and pull would do to the largest authors, and what that costs a day. Nothing changes."""

    async def main() -> ThresholdPreview:
        async with FanoutClient.connect(fanout, data_dir) as client:
            return await client.preview(followers)

    preview = run(main)
    if preview.authors:
        show(
            _COLUMNS,
            [
                (str(author.author_id), author.followers, author.active, author.posts_a_day, author.now, author.then)
                for author in preview.authors[:limit]
            ],
        )
    for line in _sums(preview):
        typer.echo(line)


def _sums(preview: ThresholdPreview) -> list[str]:
    turning = sum((author.now == "push") != (author.then == "push") for author in preview.authors)
    pulled = sum(author.then == "pull" for author in preview.authors)
    count = f"{pulled:,} of {len(preview.authors):,} authors"
    return [
        f"At a threshold of {preview.threshold:,} active followers, {count} are pulled; {turning:,} would turn.",
        f"{preview.deliveries_a_day:,.0f} deliveries and {preview.merges_a_day:,.0f} merges a day.",
    ]
