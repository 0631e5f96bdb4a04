"""`feedmesh token`."""

from datetime import timedelta
from typing import Annotated

import typer

from cli import options
from cli.client import Client
from cli.dev_tokens import minter, user_id_of
from cli.transport import Patience

_PATIENCE = Patience(try_s=5, call_s=5)
# Whoever looks up a name must be somebody; any user may.
_SOMEBODY = 1


def token(
    user: Annotated[str, typer.Argument(help="A user id, or a username; write a username of only digits as @123.")],
    hours: Annotated[float, typer.Option(min=0.01, help="How long it is valid.")] = 24,
    url: options.Url = options.DEFAULT_URL,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Print a token that speaks for a user, from the development issuer of a mesh on this machine."""

    async def main() -> str:
        mint = minter(data_dir, lifetime=timedelta(hours=hours))
        if user.isascii() and user.isdecimal():
            return mint(user_id_of(user))
        async with Client.connect(url, connections=1, patience=_PATIENCE) as client:
            found = await client.lookup_user(user.removeprefix("@"), token=mint(_SOMEBODY))
        return mint(int(found.user_id))

    typer.echo(options.run(main))
