"""`write.*`: what it costs to take a post, against SQLite that commits the same rows and against a bare gRPC echo.

Posts come through the gateway, each with another author, other words and a request id. Their events go out and are planned at the
same time, on the same machine: a rate counts until the last event has left the outbox.
"""

import asyncio
import re
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiormq
from feed.post.v1 import post_service_pb2

from bench.bare_echo import running_echo
from bench.bench import Bench
from bench.crowd import CONTENT
from bench.figure import Figure, Goal
from bench.h2load import Target, grpc_target, saturate
from bench.report import say
from bench.sqlite_rows import commit_in_groups, count_posts, rows_of_posts
from meshkit.engines import open_table
from meshkit.outbox_events import PARTITIONS
from meshkit.process import ChildError
from meshkit.table.port import Table
from post_svc.posts import PostRepository

METHOD = "/feed.post.v1.PostService/CreatePost"
UNDER_WAY = 32
_ECHO_CONNECTIONS = 4
_AUTHORS = 1_000
# So many of them have as many followers each; the others have none.
_FOLLOWED, _FOLLOWERS = 100, 5
_WARM_UP_S = 2.0
_REPORT = re.compile(r"answered (\d+) failed (\d+) microseconds (\d+)")
_LOOK_S = 0.005
_SETTLED_S = 60.0


async def rate(bench: Bench) -> AsyncIterator[Figure]:
    """Measure how many posts are taken a second, and kept."""
    tokens = await _authors(bench)
    values, on_sqlite, echoed = [], [], []
    async with running_echo(bench.rig.folder / "echo.log") as address, open_table(bench.rig.table("post")) as table:
        rows = rows_of_posts(PostRepository(table), bench.size(20_000, 1_000), _AUTHORS)
        echo = _echo(address)
        await _echo_rate(echo, bench.seconds / 2)
        await _posts(bench, tokens, min(bench.seconds, _WARM_UP_S), table)
        for _ in range(bench.rounds):
            with tempfile.TemporaryDirectory(dir=bench.rig.folder) as folder:
                on_sqlite.append(await asyncio.to_thread(commit_in_groups, rows, UNDER_WAY, Path(folder) / "bare.db"))
            echoed.append(await _echo_rate(echo, bench.seconds))
            values.append(await _posts(bench, tokens, bench.seconds, table))
    yield Figure("write.rate.sqlite", "posts/s", Goal.ratio_at_least(0.30), values, on_sqlite)
    yield Figure("write.rate.echo", "posts/s", Goal.ratio_at_least(0.5), values, echoed)


async def _authors(bench: Bench) -> Path:
    """Make authors, some with followers, and give the file with their tokens."""
    authors = await bench.crowd.people(bench.size(_AUTHORS, 50))
    followers = await bench.crowd.people(_FOLLOWERS)
    await bench.crowd.follow([(follower, author) for author in authors[:_FOLLOWED] for follower in followers])
    file = bench.rig.folder / "authors"
    file.write_text("".join(f"{bench.rig.issuer.user_token(author)}\n" for author in authors))
    return file


def _echo(address: str) -> Target:
    request = post_service_pb2.CreatePostRequest(content=f"{CONTENT} 10000", request_id=f"{secrets.token_hex(8)}-10000")
    body = request.SerializeToString()
    return grpc_target(address, METHOD, body, body, {})


async def _echo_rate(echo: Target, seconds: float) -> float:
    return await saturate(echo, seconds, connections=_ECHO_CONNECTIONS, streams=UNDER_WAY // _ECHO_CONNECTIONS)


async def _posts(bench: Bench, tokens: Path, seconds: float, table: Table) -> float:
    """Post as fast as it goes, and give the posts a second, until the last event was sent. Then wait until all are delivered, too.

    Raises ChildError when a post was refused, or acknowledged and is not there.
    """
    file = bench.rig.folder / "post.db"
    before = count_posts(file)
    answered, loaded = await _load(f"{bench.rig.url}/v1/posts", tokens, seconds)
    over = time.perf_counter()
    await _until_sent(table)
    sent = time.perf_counter() - over
    await _until_handled(bench.rig.queue_url)
    handled = time.perf_counter() - over
    if (kept := count_posts(file) - before) < answered:
        raise ChildError(f"{answered} posts were acknowledged, and {kept} are there")
    say(f"  {answered} posts in {loaded:.2f} s; events sent {sent * 1e3:.0f} ms later, handled {handled * 1e3:.0f} ms later")
    return answered / (loaded + sent)


async def _load(url: str, tokens: Path, seconds: float) -> tuple[int, float]:
    """Let wrk post, and give how many posts were answered, and in what time."""
    script = Path(__file__).with_name("posts.lua")
    duration = f"-d{max(1, round(seconds))}s"  # whole seconds are all that it knows
    arguments: list[str | Path] = [
        "-t1",
        f"-c{UNDER_WAY}",
        duration,
        "-s",
        script,
        url,
        "--",
        tokens,
        CONTENT,
        secrets.token_hex(8),
    ]
    running = await asyncio.create_subprocess_exec("wrk", *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await running.communicate()
    report = _REPORT.search(output.decode())
    if not report or int(report[2]):
        raise ChildError(f"not every post was taken: {output.decode()}")
    return int(report[1]), int(report[3]) / 1e6


async def _until_sent(table: Table) -> None:
    """Wait until the events of all acknowledged posts were sent.

    The load ends by hanging up: calls that were under way then may have been done too, and their events are left to the sweeper.
    """
    async with asyncio.timeout(_SETTLED_S):
        while await _waiting(table) > UNDER_WAY:  # noqa: ASYNC110  # another process empties it
            await asyncio.sleep(_LOOK_S)


async def _waiting(table: Table) -> int:
    return sum([len(await table.query(partition, limit=UNDER_WAY + 1)) for partition in PARTITIONS])


async def _until_handled(url: str) -> None:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        async with asyncio.timeout(_SETTLED_S):
            while (await channel.queue_declare("feedmesh.fanout.posts", passive=True)).message_count:  # noqa: ASYNC110  # as above
                await asyncio.sleep(_LOOK_S)
    finally:
        await connection.close()
