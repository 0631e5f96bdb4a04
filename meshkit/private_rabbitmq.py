"""A private RabbitMQ server for a mesh on one machine: on the loopback address, with its data and its secrets in a folder."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiormq

from meshkit.process import Child, ChildError, alone, child
from meshkit.sockets import free_port
from meshkit.supervisor import supervised

USER = "feedmesh"
# Not the wrappers on PATH: they change to the system's own user.
_HOMES = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/homebrew/opt/rabbitmq/sbin"), Path("/usr/local/opt/rabbitmq/sbin"))
_INSTALL = "RabbitMQ is not installed. On Debian: sudo scripts/install-engines. Elsewhere install rabbitmq-server 3.10 or later"
_READY_SECONDS = 60.0
# A message whose pause ended while its work queue was full or missing is tried again after so many milliseconds, not after 180,000.
_ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}].\n"
_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Node:
    """One server's folder and addresses. The node's name is part of its data, so it is always the same; the ports are not."""

    folder: Path
    password: str
    amqp: int
    epmd: int
    distribution: int

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{self.password}@127.0.0.1:{self.amqp}/"


@asynccontextmanager
async def private_rabbitmq(folder: Path) -> AsyncIterator[str]:
    """Keep a server running for the length of a block, and give its URL. Its log is `rabbitmq.log` in the folder.

    It takes 6 to 9 seconds to start. What it keeps stands in `rabbitmq` in the folder, and a later server there finds it again. The
    port map daemon, which Erlang would leave running, is a child as well. Raises ChildError when either does not start.
    """
    server, node = _program(), _prepared(folder)
    async with supervised(lambda: _epmd(node)), supervised(lambda: _server(server, node)):
        yield node.url


def _prepared(folder: Path) -> _Node:
    home = folder.absolute() / "rabbitmq"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    node = _Node(home, _secret(home / "password"), free_port(), free_port(), free_port())
    _configure(node)
    return node


def _program() -> Path:
    for home in _HOMES:
        if (home / "rabbitmq-server").exists():
            return home / "rabbitmq-server"
    raise ChildError(_INSTALL)


def _secret(path: Path) -> str:
    """Give the secret that a file keeps, which nobody else may read; the first time it is made up."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def _configure(node: _Node) -> None:
    settings = {
        "listeners.tcp.default": f"127.0.0.1:{node.amqp}",
        "default_user": USER,
        "default_pass": node.password,
        "loopback_users": "none",
        "heartbeat": "10",
        "log.console": "true",
        "log.console.level": "warning",
        "log.file": "false",
        # One machine runs the whole mesh: the server may not take it all.
        "vm_memory_high_watermark.absolute": "512MiB",
        "disk_free_limit.absolute": "200MB",
    }
    path = node.folder / "rabbitmq.conf"
    path.touch(mode=0o600)
    path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    (node.folder / "advanced.config").write_text(_ADVANCED)
    (node.folder / "enabled_plugins").write_text("[].\n")
    _secret(node.folder / ".erlang.cookie")
    (node.folder / ".erlang.cookie").chmod(0o400)


def _environment(node: _Node) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return inherited | {
        "HOME": str(node.folder),
        "ERL_CRASH_DUMP": str(node.folder / "erl_crash.dump"),
        "ERL_EPMD_PORT": str(node.epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "feedmesh@localhost",
        "RABBITMQ_DIST_PORT": str(node.distribution),
        "RABBITMQ_MNESIA_BASE": str(node.folder / "data"),
        "RABBITMQ_LOG_BASE": str(node.folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(node.folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(node.folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(node.folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(node.folder / "pid"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none",
        # The start script becomes the server, instead of staying before it and leaving it behind when it is killed.
        "detached": "true",
    }


def _epmd(node: _Node) -> AbstractAsyncContextManager[Child]:
    arguments = ["epmd", "-port", str(node.epmd), "-address", "127.0.0.1"]
    return child(arguments, name="epmd", log=node.folder.parent / "rabbitmq.log", ready=lambda: _listens(node.epmd))


def _server(program: Path, node: _Node) -> AbstractAsyncContextManager[Child]:
    return child(
        alone(node.folder / "lock", [program]),
        name="RabbitMQ",
        log=node.folder.parent / "rabbitmq.log",
        ready=lambda: _serves(node),
        ready_timeout=_READY_SECONDS,
        grace=_STOP_SECONDS,
        env=_environment(node),
    )


async def _serves(node: _Node) -> bool:
    if not await _listens(node.amqp):
        return False
    try:
        async with asyncio.timeout(2), aiormq.connect(node.url):
            return True
    except (aiormq.AMQPError, OSError):
        return False


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1)
    except OSError:
        return False
    writer.close()
    return True
