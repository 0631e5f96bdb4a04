"""The `feedmesh` command."""

import typer

from cli.seed_command import seed
from cli.token_command import token
from cli.up import up
from cli.verify_command import verify


def main() -> None:
    """Run the command line."""
    app = typer.Typer(help="Run a Feedmesh home-feed backend on this machine, fill it, and check it.", no_args_is_help=True)
    for command in (up, token, seed, verify):
        app.command()(command)
    app()


if __name__ == "__main__":
    main()
