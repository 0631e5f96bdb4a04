"""`feedmesh delivery`."""

from enum import Enum
from typing import Annotated

import typer

from cli import options
from cli.operator.clients import DeliveryClient
from cli.operator.domain import AuthorDelivery
from cli.operator.options import DEFAULT_POST, Post, run
from meshkit.ids import MAX_ID

_MEANING = {
    "push": "posts are put into the followers' timelines",
    "both": "posts are put into the followers' timelines until all of these know that the author is pulled",
    "pull": "posts are read together with the followers' timelines",
}


class Wanted(Enum):
    """What an operator can decide."""

    PUSH = "push"
    PULL = "pull"
    AUTO = "auto"


def delivery(
    author: Annotated[int, typer.Argument(min=1, max=MAX_ID, help="The author's user id.")],
    wanted: Annotated[Wanted | None, typer.Argument(help="auto: leave it to the policy again.")] = None,
    post: Post = DEFAULT_POST,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Show how an author's next posts get into feeds, or decide it."""

    async def main() -> AuthorDelivery:
        async with DeliveryClient.connect(post, data_dir) as client:
            return await client.force(author, wanted.value) if wanted else await client.get(author)

    now = run(main)
    decided = "decided by an operator" if now.forced else "decided by the policy"
    since = f" since turn {now.turn:,}" if now.turn else ""
    typer.echo(f"{author}: {now.delivery}{since}, {decided}: {_MEANING[now.delivery]}.")
