"""`feedmesh seed`, `verify` and `token` as they are typed, against a gateway in another thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import jwt
import msgspec
import pytest
import typer
from typer.testing import CliRunner

from cli import dev_tokens
from cli.seed_command import seed
from cli.token_command import token
from cli.verify_command import verify
from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER, UserTokens
from meshkit.issuer import Issuer
from tests.unit.cli_fake_mesh import FakeMesh

SMALL = ["--users", "30", "--follows", "4", "--posts", "60"]


@contextmanager
def _serving(mesh: FakeMesh) -> Iterator[str]:
    """Serve in a thread of its own, because a command runs its own event loop."""
    started, urls, loop = threading.Event(), list[str](), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with mesh.serve() as url:
            urls.append(url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert started.wait(20)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Give the data folder of a mesh that was started once: it has keys."""
    Issuer.load_or_create(tmp_path / "mesh" / "keys")
    return tmp_path / "mesh"


@pytest.fixture
def mesh(data_dir: Path) -> Iterator[tuple[FakeMesh, str]]:
    """Give a fake that takes the issuer's tokens, and its address."""
    tokens = UserTokens(data_dir / "keys" / "jwks.json", issuer=DEFAULT_ISSUER, audience=DEFAULT_AUDIENCE)
    fake = FakeMesh(caller=lambda token: tokens.verify(token).user_id)
    with _serving(fake) as url:
        yield fake, url


@pytest.fixture
def app() -> typer.Typer:
    """Give the sub-commands as the command registers them."""
    made = typer.Typer()
    for command in (seed, verify, token):
        made.command()(command)
    return made


def test_seed_and_verify(app: typer.Typer, mesh: tuple[FakeMesh, str], data_dir: Path) -> None:
    """Seeding prints what it did and how fast; verifying it prints totals and no difference, and exits with 0."""
    where = ["--url", mesh[1], "--data-dir", str(data_dir)]
    seeded = CliRunner().invoke(app, ["seed", *SMALL, *where])
    assert (seeded.exit_code, len(mesh[0].users), len(mesh[0].posts)) == (0, 30, 60)
    assert "Seeded 30 users" in seeded.stdout
    assert "posts: 60 of 60 in" in seeded.stderr
    again = CliRunner().invoke(app, ["seed", *SMALL, *where])
    assert (again.exit_code, again.stdout.startswith("Nothing to do")) == (0, True)
    verified = CliRunner().invoke(app, ["verify", *where])
    assert (verified.exit_code, verified.stdout.splitlines()[-1]) == (0, "0 differences.")
    assert "Read 30 feeds" in verified.stdout


def test_verify_tells_differences(app: typer.Typer, mesh: tuple[FakeMesh, str], data_dir: Path, tmp_path: Path) -> None:
    """Differences are printed, a few for each user; all of them are in the report file; the exit code is 1."""
    fake, url = mesh
    where = ["--url", url, "--data-dir", str(data_dir)]
    CliRunner().invoke(app, ["seed", *SMALL, *where])
    victim = max(fake.users, key=lambda user_id: len(fake.feed_of(user_id)))
    size = len(fake.feed_of(victim))
    fake.tamper = lambda user_id, items: items[:0] if user_id == victim else items
    report = tmp_path / "report.jsonl"
    verified = CliRunner().invoke(app, ["verify", "--settle", "0", "--report", str(report), *where])
    assert verified.exit_code == 1
    assert verified.stdout.count(f"(user {victim}): missing") == 5 < size
    assert f"... and {size - 5} more of {fake.users[victim]}" in verified.stdout
    assert verified.stdout.splitlines()[-1] == f"{size} differences: {size} missing"
    totals, *differences = [msgspec.json.decode(line) for line in report.read_bytes().splitlines()]
    assert (totals["users"], totals["differences"], len(differences)) == (30, size, size)
    assert {(difference["user_id"], difference["kind"]) for difference in differences} == {(victim, "missing")}
    fake.follows.clear()
    everybody = CliRunner().invoke(app, ["verify", "--settle", "0", *where])
    assert everybody.stdout.count(": missing") <= 5 * 20 + 1
    assert "more users: --report FILE has them all" in everybody.stdout


def test_a_real_graph(app: typer.Typer, mesh: tuple[FakeMesh, str], data_dir: Path, tmp_path: Path) -> None:
    """With --edges the graph is that of the file, both ways."""
    edges = tmp_path / "graph.edges"
    edges.write_text("1 0\n2 0\n")
    seeded = CliRunner().invoke(app, ["seed", "--edges", str(edges), "--posts", "3", "--url", mesh[1], "--data-dir", str(data_dir)])
    assert (seeded.exit_code, len(mesh[0].users), len(mesh[0].follows), len(mesh[0].posts)) == (0, 3, 4, 3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["verify"], "there is no journal"),
        (["seed", "--prefix", "a-b"], "a prefix is"),
        (["seed", "--url", "http://127.0.0.1:1", "--patience", "0"], "tries: 1"),
        (["token", "somebody", "--url", "gateway"], "not an address"),
    ],
)
def test_a_failure_is_a_sentence(app: typer.Typer, data_dir: Path, arguments: list[str], problem: str) -> None:
    """What goes wrong is told in a sentence on standard error, with exit code 2 and no traceback."""
    result = CliRunner().invoke(app, [*arguments, "--data-dir", str(data_dir)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["seed"], ["token", "1"]])
def test_without_keys_the_mesh_was_never_started(app: typer.Typer, tmp_path: Path, arguments: list[str]) -> None:
    """No keys are made by a look at the wrong folder; the message says what to start."""
    result = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path / "none")])
    assert (result.exit_code, "feedmesh up" in result.stderr) == (2, True)
    assert not (tmp_path / "none" / "keys").exists()


def test_token_speaks_for_a_user(app: typer.Typer, mesh: tuple[FakeMesh, str], data_dir: Path) -> None:
    """A token for an id, for a name, or for a name of digits is valid, speaks for that user, and is all that is printed."""
    mesh[0].users = {71: "alice", 72: "123"}
    tokens = UserTokens(data_dir / "keys" / "jwks.json", issuer=DEFAULT_ISSUER, audience=DEFAULT_AUDIENCE)
    for user, user_id in (("5", 5), ("alice", 71), ("@alice", 71), ("@123", 72)):
        result = CliRunner().invoke(app, ["token", user, "--url", mesh[1], "--data-dir", str(data_dir)])
        assert (result.exit_code, tokens.verify(result.stdout.strip()).user_id) == (0, user_id)


@pytest.mark.parametrize(
    ("user", "problem"), [("nobody", "no such user"), ("0", "not a user id"), ("99999999999999999999", "not a user id")]
)
def test_token_for_nobody(app: typer.Typer, mesh: tuple[FakeMesh, str], data_dir: Path, user: str, problem: str) -> None:
    """An unknown name, or an id that cannot be one, gets no token."""
    result = CliRunner().invoke(app, ["token", user, "--url", mesh[1], "--data-dir", str(data_dir)])
    assert (result.exit_code, result.stdout, problem in result.stderr) == (2, "", True)


def test_a_token_lives_as_long_as_asked(data_dir: Path) -> None:
    """The lifetime is the one that was asked for, in seconds."""
    claims = jwt.decode(dev_tokens.minter(data_dir, lifetime=timedelta(hours=2))(5), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 7200
