"""Secrets in files."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from meshkit.keys import load_or_create

PROCESSES = 8
# Starts, says so, waits for the word, and then makes or reads the secret.
PROGRAM = """
import pathlib, sys
from meshkit.keys import load_or_create
print("ready", flush=True)
sys.stdin.readline()
print(load_or_create(pathlib.Path(sys.argv[1])).decode())
"""


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """The first call makes 32 random bytes in hex, later ones read the same; another file has another secret."""
    path = tmp_path / "deep" / "secret.key"
    secret = load_or_create(path)
    assert len(bytes.fromhex(secret.decode())) == 32
    assert load_or_create(path) == load_or_create(path, b"ignored") == secret
    assert load_or_create(tmp_path / "other.key") != secret


def test_a_given_secret_is_kept(tmp_path: Path) -> None:
    """What is to be written is written, and what is there stays."""
    given, there = b"given" * 8, b"there" * 8
    assert load_or_create(tmp_path / "a.pem", given) == given
    (tmp_path / "b.pem").write_bytes(there)
    assert load_or_create(tmp_path / "b.pem", given) == there


@pytest.mark.parametrize("content", [b"", b"x" * 31])
def test_a_file_that_is_too_short_is_no_secret(tmp_path: Path, content: bytes) -> None:
    """An empty or short file, as a full disk or a slip leaves it, is refused by name and not used as a key."""
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name):
        load_or_create(path)


def test_only_the_owner_reads_a_secret(tmp_path: Path) -> None:
    """The file has mode 0600 whatever the umask allows, and no draft is left beside it."""
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "secret.key")
    finally:
        os.umask(before)
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [("secret.key", 0o600)]


async def test_processes_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    """However many processes make a secret at the same moment, all get the same one, and nothing else is left."""
    path = tmp_path / "secret.key"
    starting = (
        asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    )
    processes = await asyncio.gather(*starting)
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert {stdout.strip() for stdout, _ in answers} == {load_or_create(path)}
    assert os.listdir(tmp_path) == ["secret.key"]  # noqa: PTH208 - a Path's iterdir is not for coroutines
