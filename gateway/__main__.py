"""The gateway alone, as a deployment runs it: `python -m gateway`. Settings come from the environment, prefix FEEDMESH_GATEWAY_."""

import asyncio
import sys
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.envoy import run_envoy
from gateway.settings import GatewaySettings
from meshkit.lifecycle import stop_signal
from meshkit.process import ChildError


class EnvironmentSettings(GatewaySettings, BaseSettings):
    """The gateway's settings, each from its variable; `upstreams` and lists are JSON."""

    model_config = SettingsConfigDict(env_prefix="FEEDMESH_GATEWAY_", frozen=True, extra="ignore")

    folder: Path = Field(default=Path(".feedmesh/gateway"), description="where the configuration and the log are written")


async def serve(settings: EnvironmentSettings) -> int:
    """Run until SIGTERM or SIGINT, and return the exit status: 0, or 1 when Envoy ended by itself."""
    asked_to_stop = stop_signal()
    async with run_envoy(settings, settings.folder) as gateway:
        sys.stdout.write(f"{gateway.url}\n")
        sys.stdout.flush()
        stop, end = asyncio.ensure_future(asked_to_stop.wait()), asyncio.ensure_future(gateway.process.wait())
        await asyncio.wait((stop, end), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if end.done():
            sys.stderr.write(f"{gateway.process.failure(f'ended with status {end.result()}')}\n")
            return 1
        end.cancel()
    return 0


def main() -> None:
    """Start the gateway."""
    try:
        status = asyncio.run(serve(EnvironmentSettings()))  # type: ignore[call-arg]  # what is not given comes from the environment
    except (ChildError, ValidationError, ValueError) as error:
        sys.exit(f"the gateway cannot start: {error}")
    sys.exit(status)


if __name__ == "__main__":
    main()
