"""`feedmesh up`, `seed` and `verify` as a person runs them: as processes, killed and started again."""

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from meshkit.issuer import Issuer
from tests.mesh.commands import flush, journal_has, printed, run, start, up

SEED = ("--users", "60", "--follows", "12", "--posts", "900")


async def test_up_prints_lines_that_work(tmp_path: Path) -> None:
    """The first line is the address; the printed curl lines work when pasted, in order; Ctrl-C ends with code 0."""
    async with up(tmp_path) as (url, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        lines = await printed(process, "Ctrl-C stops")
        script = [text for text in lines if text.startswith(("WRITER=", "READER=", "curl"))]
        assert len([text for text in script if text.startswith("curl")]) >= 3
        feed_line = next(text for text in script if "/v1/feed" in text)
        before = "\n".join(script).replace(feed_line, "")
        until = f"{before}\nfor _ in $(seq 100); do {feed_line} | grep -q 'Hello, feed!' && exit 0; done; exit 1"
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", until, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(shell.communicate(), 30)
        assert shell.returncode == 0, output
    assert process.returncode == 0


async def test_data_survives_a_stop(tmp_path: Path) -> None:
    """What was posted before a stop is in the feed after the next start, whatever the data folder is called; it holds all of it."""
    folder = tmp_path / "a#b ?c=%25 d"
    async with aiohttp.ClientSession() as http:
        async with up(folder) as (url, process):
            await printed(process, "Ctrl-C stops")
            token = Issuer.load_or_create(folder / "keys").user_token(await _user_id(http, url))
            headers = {"authorization": f"Bearer {token}"}
            async with http.post(f"{url}/v1/posts", json={"content": "kept"}, headers=headers) as answer:
                post_id = (await answer.json())["post_id"]
        async with up(folder) as (url, process):
            await printed(process, "Ctrl-C stops")
            async with http.get(f"{url}/v1/feed", headers=headers) as answer:
                assert [item["post"]["post_id"] for item in (await answer.json())["items"]] == [post_id]
    assert _tables(tmp_path) == {folder / name for name in ("graph.db", "posts.db", "fanout.db")}


async def test_a_damaged_table_is_told_in_a_sentence(tmp_path: Path) -> None:
    """A table that cannot be opened ends the start with a sentence, not with a traceback."""
    (tmp_path / "graph.db").write_text("not a database, and long enough to be read as one " * 100)
    code, output = await run("up", "--data-dir", str(tmp_path), "--free-ports", "--port", "0")
    assert (code, "Traceback" in output, output.startswith("feedmesh: ")) == (2, False, True), output


async def test_a_second_mesh_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """A data folder and a port belong to one mesh: another one ends at once and says why."""
    async with up(tmp_path / "one") as (url, _):
        code, output = await run("up", "--data-dir", str(tmp_path / "one"), "--free-ports", "--port", "0")
        assert (code, "running on" in output) == (2, True), output
        code, output = await run("up", "--data-dir", str(tmp_path / "two"), "--free-ports", "--port", url.rpartition(":")[2])
        assert code == 2
        assert "Traceback" not in output
        assert url.rpartition(":")[2] in output


@pytest.mark.parametrize("killed_after", ['["f",', '["p",'], ids=["follows", "posts"])
async def test_kill_in_the_middle_of_seeding(tmp_path: Path, killed_after: str) -> None:
    """After kill -9 while a community is being made, and a restart, nothing acknowledged is missing and nothing is there twice."""
    async with up(tmp_path) as (url, process):
        port = int(url.rpartition(":")[2])
        seeding = await start("seed", "--data-dir", str(tmp_path), "--url", url, *SEED)
        await journal_has(tmp_path, killed_after)
        process.kill()
        await process.communicate()
    async with up(tmp_path, port) as (url, process):
        lines = await printed(process, "Ctrl-C stops")
        output, _ = await asyncio.wait_for(seeding.communicate(), 90)
        assert seeding.returncode == 0, output
        code, report = await run("verify", "--data-dir", str(tmp_path), "--url", url)
        assert (code, "\n0 differences" in report) == (0, True), report
        await flush(lines)
        code, report = await run("verify", "--data-dir", str(tmp_path), "--url", url)
        assert (code, "\n0 differences" in report) == (0, True), report


def _tables(folder: Path) -> set[Path]:
    """Give the tables anywhere in a folder."""
    return {path for path in folder.rglob("*") if path.is_file() and path.read_bytes().startswith(b"SQLite format 3")}


async def _user_id(http: aiohttp.ClientSession, url: str) -> int:
    async with http.post(f"{url}/v1/users", json={"username": "somebody"}) as answer:
        return int((await answer.json())["user_id"])
