"""`feedmesh dead-letters`."""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import typer

from cli import options
from cli.operator.clients import FanoutClient
from cli.operator.domain import DeadLetter
from cli.operator.options import DEFAULT_FANOUT, Fanout, run, show


class WorkQueue(Enum):
    """The mesh's work queues."""

    POSTS = "fanout.posts"
    TURNS = "fanout.turns"
    CHUNKS = "fanout.chunks"
    BULK = "fanout.bulk"
    FOLLOWS = "timeline.follows"


def dead_letters(
    queue: Annotated[WorkQueue, typer.Argument(help="A work queue.")],
    *,
    redrive: Annotated[bool, typer.Option("--redrive", help="Put them all back into the queue.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most messages to show, oldest first.")] = 20,
    fanout: Fanout = DEFAULT_FANOUT,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Show the messages that a work queue gave up, and why; with --redrive, put them back.

    Queues in memory forget them when the mesh stops; what they were about is tried again by the next start.
    """

    async def main() -> Sequence[DeadLetter] | int:
        async with FanoutClient.connect(fanout, data_dir) as client:
            return await client.redrive(queue.value) if redrive else await client.dead_letters(queue.value, limit)

    found = run(main)
    if isinstance(found, int):
        typer.echo(f"Put {found:,} messages back into {queue.value}.")
    elif found:
        show(("topic", "reason", "message"), [(letter.topic, letter.reason, letter.told) for letter in found])
    else:
        typer.echo(f"{queue.value} has given up nothing.")
