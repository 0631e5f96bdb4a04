"""Runs the edge app: `python -m gateway.edge`."""

from gateway.edge.app import running_edge
from gateway.edge.settings import EdgeSettings
from meshkit.lifecycle import run, until_stopped
from meshkit.telemetry import configure_logging


async def _alone() -> None:
    settings = EdgeSettings()
    configure_logging(settings.log_level)
    await until_stopped("edge", running_edge(settings))


if __name__ == "__main__":
    run(_alone())
