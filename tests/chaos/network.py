"""A network of the run's own, in which ports can be cut off without harm to the machine: a namespace, also for ordinary users."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

_INSIDE = "FEEDMESH_CHAOS_NETWORK"
_NAMESPACE = ("unshare", "--map-root-user", "--net")


def is_own() -> bool:
    """Whether this process lives in a network of its own."""
    return os.environ.get(_INSIDE) == "own"


def enter_own() -> None:
    """Run this program again in a network of its own, where the kernel allows that; else do nothing."""
    if is_own() or not (shutil.which("unshare") and shutil.which("ip")):
        return
    if subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode:
        return
    os.environ[_INSIDE] = "own"
    os.execvp(_NAMESPACE[0], [*_NAMESPACE, sys.executable, "-m", "tests.chaos", *sys.argv[1:]])  # noqa: S606


def prepare_own() -> None:
    """Bring the loopback up, and let rules come before the table of local addresses."""
    _ip("link", "set", "lo", "up")
    _ip("rule", "add", "pref", "10", "lookup", "local")
    _ip("rule", "del", "pref", "0")


@asynccontextmanager
async def cut(ports: Sequence[int]) -> AsyncIterator[None]:
    """Let nothing pass to or from TCP ports for the length of a block: silence on open connections, refusal of new ones."""
    rules = [("ipproto", "tcp", side, str(port), "unreachable") for port in ports for side in ("dport", "sport")]
    for rule in rules:
        _ip("rule", "add", "pref", "5", *rule)
    try:
        yield
    finally:
        for rule in rules:
            _ip("rule", "del", "pref", "5", *rule)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
