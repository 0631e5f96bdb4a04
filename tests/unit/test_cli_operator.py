"""`feedmesh jobs`, `dead-letters`, `threshold` and `delivery` as they are typed, against fan-out as it runs, in another thread."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.operator.dead_letters import dead_letters
from cli.operator.delivery import delivery
from cli.operator.jobs import jobs
from cli.operator.threshold import threshold
from fanout_svc.domain import AuthorDelivery, Delivery, Job
from fanout_svc.jobs import JobRepository
from meshkit.clock import now_ms
from meshkit.engines import open_table
from meshkit.issuer import Issuer
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import DeadLetteredError
from tests.fanout.peers import Service, running_service

AUTHOR, OTHER = 7, 8
FOLLOWERS = range(1, 100_000, 5_003)


@dataclass
class Running:
    """A service that runs in a loop of another thread, because a command runs its own."""

    service: Service
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, object]) -> None:
        """Have something done beside the service."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def run(self, *arguments: str) -> Result:
        """Type a command."""
        where = "--post" if arguments[0] == "delivery" else "--fanout"
        address = self.service.peers if where == "--post" else self.service.address
        return CliRunner().invoke(_app(), [*arguments, where, address, "--data-dir", str(self.service.settings.data_dir)])

    def lines(self, *arguments: str) -> list[list[str]]:
        """Type a command that succeeds, and give the words of each line that it prints."""
        result = self.run(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        return [line.split() for line in result.stdout.splitlines() if line.strip(" ─")]


def _app() -> typer.Typer:
    app = typer.Typer()
    for command in (jobs, dead_letters, threshold, delivery):
        app.command()(command)
    return app


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Run fan-out and what it calls."""
    started, found, loop = threading.Event(), list[Service](), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with (
            MemoryQueue(pause=lambda _deliveries: 0.0) as queue,
            running_service(tmp_path, queue, pull_threshold=20) as service,
        ):
            found.append(service)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert started.wait(20)
        yield Running(found[0], loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_running_jobs_are_shown(running: Running) -> None:
    """Each running job is a line, oldest first, with how far it is; the last line tells the lag. Without jobs that is said."""
    assert running.lines("jobs") == [["No", "job", "is", "running."]]
    now = now_ms()
    running.do(note(running.service, Job(101, AUTHOR, 4, 1_234, now - 90_000), done=2))
    running.do(note(running.service, Job(102, OTHER, 30, 5_678, now - 30_000, turn=9)))
    head, first, second, lag = running.lines("jobs")
    assert head == ["job", "kind", "author", "chunks", "followers", "delivered", "age"]
    assert first[:-2] == ["101", "post", "7", "2", "of", "4", "1,234", "6"]
    assert second[:-2] == ["102", "turn", "8", "0", "of", "30", "5,678", "0"]
    assert 90 <= float(first[-2]) < 120
    assert " ".join(lag).startswith(f"2 running; lag, the age of the oldest: {first[-2][:2]}")
    assert len(running.lines("jobs", "--limit", "1")) == 3


def test_one_job_is_shown(running: Running) -> None:
    """A job that is done tells how long it took; one that is not there is a sentence and exit code 1."""
    now = now_ms()
    running.do(note(running.service, Job(103, AUTHOR, 2, 20, now - 5_000), done=2))
    head, shown = running.lines("jobs", "103")
    assert head[0] == "job"
    assert " ".join(shown).startswith("103 post 7 2 of 2 20 6 done in")
    missing = running.run("jobs", "5")
    assert (missing.exit_code, missing.stdout.startswith("There is no job 5")) == (1, True)


def test_dead_letters_are_shown_and_put_back(running: Running) -> None:
    """What a queue gave up is shown with its reason and its content, and put back by --redrive."""
    assert running.lines("dead-letters", "fanout.posts") == [["fanout.posts", "has", "given", "up", "nothing."]]
    running.service.followers.set(AUTHOR, FOLLOWERS)
    running.service.timelines.poison.add(AUTHOR)
    running.do(given_up(running.service))
    head, shown = running.lines("dead-letters", "fanout.posts")
    assert head == ["topic", "reason", "message"]
    assert shown[:2] == ["post.created", "DependencyError:"]
    assert " ".join(shown[-9:]).startswith("post_created { post_id: ")
    running.service.timelines.poison.clear()
    back = running.run("dead-letters", "fanout.posts", "--redrive")
    assert back.stdout == "Put 1 messages back into fanout.posts.\n"
    assert running.lines("dead-letters", "fanout.posts") == [["fanout.posts", "has", "given", "up", "nothing."]]
    assert running.run("dead-letters", "nobody").exit_code == 2


def test_a_threshold_is_previewed(running: Running) -> None:
    """A line for each author, and the sums; a higher threshold shows who would turn. Without authors only the sums are shown."""
    assert " ".join(running.lines("threshold")[0]) == (
        "At a threshold of 20 active followers, 0 of 0 authors are pulled; 0 would turn."
    )
    service = running.service
    service.followers.set(AUTHOR, range(1_000, 1_060))
    service.followers.set(OTHER, range(1_000, 1_009))
    for author in (AUTHOR, AUTHOR, OTHER):
        running.do(service.created(author))
    head, first, second, told, costs = running.lines("threshold")
    assert " ".join(head) == "author followers active posts a day now then"
    assert (first[:3], first[-2:]) == (["7", "60", "60"], ["both", "pull"])
    assert second == ["8", "9", "9", "1.0", "push", "push"]
    assert " ".join(told) == "At a threshold of 20 active followers, 1 of 2 authors are pulled; 0 would turn."
    assert " ".join(costs) == "9 deliveries and 600 merges a day."
    *_, told, _costs = running.lines("threshold", "5000")
    assert " ".join(told) == "At a threshold of 5,000 active followers, 0 of 2 authors are pulled; 1 would turn."
    assert len(running.lines("threshold", "--limit", "1")) == 4


def test_a_delivery_is_shown_and_decided(running: Running) -> None:
    """How an author is delivered is a sentence; push and pull force it, auto ends that and changes nothing else."""
    deliveries = running.service.deliveries
    assert running.run("delivery", "7").stdout.startswith("7: push, decided by the policy: ")
    assert running.run("delivery", "7", "pull").stdout.startswith("7: both since turn 1, decided by an operator: ")
    assert running.run("delivery", "7", "push").stdout.startswith("7: push since turn 2, decided by an operator: ")
    assert deliveries.forced == {AUTHOR}
    assert running.run("delivery", "7", "auto").stdout.startswith("7: push since turn 2, decided by the policy: ")
    assert (deliveries.forced, deliveries.of[AUTHOR]) == (set(), AuthorDelivery(Delivery.PUSH, 2))


@pytest.mark.parametrize("command", [["jobs"], ["dead-letters", "fanout.bulk"], ["threshold"], ["delivery", "7"]])
@pytest.mark.parametrize(
    ("address", "has_keys", "problem"),
    [
        ("127.0.0.1:1", True, "does not answer"),
        ("nowhere", True, "is not host:port"),
        ("127.0.0.1:1", False, "start the mesh with `feedmesh up` first"),
    ],
)
def test_a_failure_is_a_sentence(tmp_path: Path, command: list[str], address: str, has_keys: bool, problem: str) -> None:  # noqa: FBT001
    """What goes wrong is told in a sentence on standard error, with exit code 2; no keys are made by a look at the wrong folder."""
    if has_keys:
        Issuer.load_or_create(tmp_path / "keys")
        (tmp_path / "keys" / "service.key").write_text("k" * 64)
    where = ["--post" if command[0] == "delivery" else "--fanout", address, "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(_app(), [*command, *where])
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "keys").exists() == has_keys


async def note(service: Service, job: Job, *, done: int = 0) -> None:
    """Note a job, and that its first chunks are done; each reached three timelines."""
    async with open_table(service.settings.table_url) as table:
        repository = JobRepository(table)
        await repository.create(job)
        for index in range(done):
            await repository.note_chunk(job.job_id, index, 3)
        if done == job.chunk_count:
            await repository.finish(job, 3 * done)


async def given_up(service: Service) -> None:
    """Tell of a post that cannot be planned."""
    with pytest.raises(DeadLetteredError):
        await service.created(AUTHOR)
