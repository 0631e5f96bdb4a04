"""The `feedmesh` command."""

import os

import typer


def main() -> None:
    """Run the command line."""
    # Children only exec; without this, gRPC remarks on every fork that it has nothing to prepare. It looks when it is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from cli.operator.dead_letters import dead_letters  # noqa: PLC0415
    from cli.operator.delivery import delivery  # noqa: PLC0415
    from cli.operator.jobs import jobs  # noqa: PLC0415
    from cli.operator.threshold import threshold  # noqa: PLC0415
    from cli.seed_command import seed  # noqa: PLC0415
    from cli.token_command import token  # noqa: PLC0415
    from cli.up import restart, up  # noqa: PLC0415
    from cli.verify_command import verify  # noqa: PLC0415

    app = typer.Typer(help="Run a Feedmesh home-feed backend on this machine, fill, check and operate it.", no_args_is_help=True)
    for command in (up, restart, token, seed, verify, jobs, dead_letters, threshold, delivery):
        app.command()(command)
    app()


if __name__ == "__main__":
    main()
