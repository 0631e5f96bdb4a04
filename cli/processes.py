"""Each service in processes of its own, on real engines: supervised, stopped in order, replaced in turn."""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import structlog

from cli.addresses import settled
from cli.parts import MeshOptions, Services
from cli.real_engines import RealEngines, private_engines
from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from meshkit.process import Child, child
from meshkit.rpc.probe import is_serving
from meshkit.settings import MeshSettings
from meshkit.supervisor import Start, Supervised, supervised

# Some of the gateway's health checks long, so that nobody calls a process that is about to refuse.
_DRAIN_NOTICE_S = 2.0
# How long the gateway and the other services may take to find a process that came back.
_FOUND_AGAIN_S = 3.0
_READY_S = 60.0
_STOP_S = 25.0
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def service_processes(options: MeshOptions) -> AsyncIterator[Services]:
    """Run the engines and the services for the length of a block. Raises OSError when a port is taken."""
    addresses = settled(options, options.processes)
    async with private_engines(options.data_dir) as engines:
        environment = _environment(options, engines, addresses)
        starts = {name: _starts(options, environment, name, addresses) for name in addresses}
        async with (
            supervised(*starts["graph"], *starts["post"]) as tables,
            supervised(*starts["timeline"]) as timelines,
            supervised(*starts["fanout"]) as fanout,
        ):
            shown = {"Valkey": engines.redis_url, "RabbitMQ": engines.queue_url, "DynamoDB and S3": engines.aws_url}
            services = [tables[: options.processes], tables[options.processes :], timelines, fanout]
            restart = partial(_replace_in_turn, services) if options.processes > 1 else None
            yield Services(addresses, engines.redis_url, shown, restart=restart)


async def _replace_in_turn(services: Sequence[Sequence[Supervised]]) -> None:
    """Restart all processes, so that at any moment all but one of each service serve."""
    for turn in zip(*services, strict=True):
        for running in itertools.chain.from_iterable(services):
            await running.ready()
        await asyncio.sleep(_FOUND_AGAIN_S)
        async with asyncio.TaskGroup() as group:
            for running in turn:
                group.create_task(running.restart())
    _log.info("every process was replaced")


def _environment(options: MeshOptions, engines: RealEngines, addresses: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Give the settings that all processes share. What is not said here comes from the environment."""
    return {
        **os.environ,
        "FEEDMESH_DATA_DIR": str(options.data_dir),
        "FEEDMESH_QUEUE_URL": engines.queue_url,
        "FEEDMESH_REDIS_URL": engines.redis_url,
        "FEEDMESH_GRAPH_TABLE": engines.table("graph"),
        "FEEDMESH_POST_TABLE": engines.table("posts"),
        "FEEDMESH_FANOUT_TABLE": engines.table("fanout"),
        "FEEDMESH_GRAPH_ADDRESS": ",".join(addresses["graph"]),
        "FEEDMESH_POST_ADDRESS": ",".join(addresses["post"]),
        "FEEDMESH_TIMELINE_ADDRESS": ",".join(addresses["timeline"]),
        "FEEDMESH_MEDIA": engines.media,
        "FEEDMESH_MEDIA_PUBLIC_URL": "",
        "FEEDMESH_JWKS_FILE": str(options.jwks_file),
        "FEEDMESH_TOKEN_ISSUER": DEFAULT_ISSUER,
        "FEEDMESH_TOKEN_AUDIENCE": DEFAULT_AUDIENCE,
        "FEEDMESH_REFLECTION": "true",
        "FEEDMESH_SIGNUP": "open",
        "FEEDMESH_DRAIN_NOTICE": str(_DRAIN_NOTICE_S),
    }


def _starts(options: MeshOptions, environment: Mapping[str, str], name: str, addresses: Mapping[str, Sequence[str]]) -> list[Start]:
    first = list(addresses).index(name) * options.processes
    return [
        partial(_process, options, environment, name, process, address=address, worker=first + process)
        for process, address in enumerate(addresses[name])
    ]


def _process(
    options: MeshOptions, environment: Mapping[str, str], name: str, process: int, *, address: str, worker: int
) -> AbstractAsyncContextManager[Child]:
    logs = options.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    own = {f"FEEDMESH_{name.upper()}_LISTEN": address, "FEEDMESH_WORKER": str(worker)}
    return child(
        [sys.executable, "-m", f"{name}_svc"],
        name=f"{name}_svc {process}",
        log=logs / f"{name}-{process}.log",
        ready=partial(is_serving, address, MeshSettings().tls()),
        ready_timeout=_READY_S,
        grace=_STOP_S,
        env={**environment, **own},
    )
