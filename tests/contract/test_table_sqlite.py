"""What the embedded table promises beyond the port: durability, group commit, bounds."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.table.port import Add, AtVersion, Check, ConditionFailedError, Existence, Key, Put
from meshkit.table.sqlite import open_sqlite
from meshkit.table.sqlite_statements import connect

KEY = Key(b"p", b"s")
OTHER = Key(b"p", b"t")
TOTAL = Key(b"total", b"s")
WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from meshkit.errors import UnavailableError
from meshkit.table.port import Add, Key, Put
from meshkit.table.sqlite import open_sqlite

async def main() -> None:
    async with open_sqlite(Path(sys.argv[1])) as table:
        for number in itertools.count(1):
            await table.write(Put(Key(b"p", b"%d" % number), b"x" * 1000), Add(Key(b"total", b"s"), 1))
            print(number, flush=True)

{prelude}
try:
    asyncio.run(main())
except UnavailableError:
    print("failed", flush=True)
"""
SMALL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"


@contextlib.contextmanager
def another_writer(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as another process might."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def start_writer(path: Path, prelude: str = "") -> subprocess.Popen[str]:
    """Start a process that writes without end and prints what was acknowledged."""
    command = [sys.executable, "-c", WRITER.format(prelude=prelude), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


async def check_survivors(path: Path, acknowledged: int) -> None:
    """Check that what was acknowledged is there, and every write wholly or not at all."""
    async with open_sqlite(path) as table:
        items = await table.query(b"p", limit=acknowledged + 1_000_000)
        total = await table.get(TOTAL)
    assert {item.key.sort for item in items} >= {b"%d" % number for number in range(1, acknowledged + 1)}
    assert total
    assert total.number == len(items)


async def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    """After SIGKILL in the middle of writing, all that was acknowledged is there, and nothing by halves."""
    path = tmp_path / "table.db"
    with start_writer(path) as process:
        assert process.stdout
        while int(process.stdout.readline()) < 100:
            pass
        process.kill()
        acknowledged = [100, *(int(line) for line in process.stdout if line.endswith("\n"))][-1]
    assert process.returncode == -signal.SIGKILL
    await check_survivors(path, acknowledged)


async def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """When the file cannot grow the write fails with UnavailableError, and what was acknowledged before is there."""
    path = tmp_path / "table.db"
    with start_writer(path, SMALL_DISK) as process:
        assert process.stdout
        lines = process.stdout.read().splitlines()
    assert lines[-1] == "failed"
    await check_survivors(path, max(int(line) for line in lines if line.isdigit()))


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    """Connections are in WAL mode and synchronise fully, without which a crash of the machine could take acknowledged writes."""
    with contextlib.closing(connect(tmp_path / "table.db", busy_timeout=1)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_concurrent_calls_share_transactions(tmp_path: Path) -> None:
    """Writes that wait together are committed together, and reads share a snapshot."""
    async with open_sqlite(tmp_path / "table.db") as table:
        await asyncio.gather(*(table.write(Add(KEY, 1)) for _ in range(500)))
        await asyncio.gather(*(table.get(KEY) for _ in range(500)))
        stats = table.stats
    assert (stats.writes, stats.reads, stats.waiting_writes, stats.waiting_reads) == (500, 500, 0, 0)
    assert stats.commits < 250
    assert stats.snapshots < 250


async def test_readers_never_see_half_a_write(tmp_path: Path) -> None:
    """A read of several items is of one moment: items that are always written together are always read alike."""
    async with open_sqlite(tmp_path / "table.db") as table:
        await table.write(Put(KEY, b"0"), Put(OTHER, b"0"))
        writes = [table.write(Put(KEY, b"%d" % number), Put(OTHER, b"%d" % number)) for number in range(100)]
        reads = [table.query(KEY.partition, limit=2) for _ in range(100)]
        for found in await asyncio.gather(*(call for pair in zip(writes, reads, strict=True) for call in pair)):
            assert found is None or len({item.value for item in found}) == 1


async def test_one_write_that_fails_leaves_the_batch_alone(tmp_path: Path) -> None:
    """Writes of one commit have nothing to do with each other: only the one that overflows fails."""
    async with open_sqlite(tmp_path / "table.db") as table:
        await table.write(Add(KEY, 2**63 - 1))
        writes = [table.write(Add(KEY if number == 50 else TOTAL, 1)) for number in range(100)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        total = await table.get(TOTAL)
    assert [type(outcome) for outcome in outcomes if outcome] == [ValueError]
    assert total
    assert total.number == 99


async def test_too_much_waiting_is_refused(tmp_path: Path) -> None:
    """A write beyond the backlog fails at once with OverloadedError; the others are done when the way is free."""
    path = tmp_path / "table.db"
    async with open_sqlite(path, backlog=10) as table:
        with another_writer(path):
            writes = [asyncio.create_task(table.write(Add(KEY, 1))) for _ in range(11)]
            refused, waiting = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
            assert table.stats.waiting_writes == 10
        await asyncio.gather(*waiting)
        item = await table.get(KEY)
    assert [type(task.exception()) for task in refused] == [OverloadedError]
    assert item
    assert item.number == 10


async def test_a_table_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    """Calls fail at their deadline: a write that was begun may still be done, one that waited behind it is not."""
    proceed = threading.Event()

    def stuck() -> float:
        proceed.wait(timeout=10)
        return 1_000.0

    async with open_sqlite(tmp_path / "table.db", deadline=0.05, clock=stuck) as table:
        for key in (KEY, TOTAL):
            with pytest.raises(UnavailableError) as failure:
                await asyncio.wait_for(table.write(Put(key, b"")), timeout=5)
            assert failure.value.reason == "TABLE_TIMEOUT"
        proceed.set()
    async with open_sqlite(tmp_path / "table.db") as table:
        await table.write(Add(KEY, 1))
        found = await table.get_many([KEY, TOTAL])
    assert {key: (item.number, item.version) for key, item in found.items()} == {KEY: (1, 2)}


async def test_a_locked_file_is_unavailable(tmp_path: Path) -> None:
    """While another process holds the file, writes fail with UnavailableError, and reads go on."""
    path = tmp_path / "table.db"
    async with open_sqlite(path, deadline=0.05) as table:
        with another_writer(path):
            with pytest.raises(UnavailableError):
                await table.write(Put(KEY, b""))
            assert await table.get(OTHER) is None


async def test_a_transaction_that_fails_is_rolled_back(tmp_path: Path) -> None:
    """When SQLite fails in the middle, no write of the batch is half done, all get UnavailableError, and the next ones succeed."""
    path = tmp_path / "table.db"
    async with open_sqlite(path) as table:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as saboteur:
            saboteur.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON items WHEN NEW.value = x'00' BEGIN SELECT RAISE(FAIL, ''); END"
            )
            with pytest.raises(UnavailableError) as failure:
                await table.write(Put(OTHER, b"fine"), Put(KEY, b"\0"))
            saboteur.execute("DROP TRIGGER broken")
        assert failure.value.reason == "TABLE_FAILED"
        assert await table.get_many([KEY, OTHER]) == {}
        await table.write(Put(KEY, b"\0"))
        assert await table.get(OTHER) is None


async def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    """Writes that wait when the table is closed are done; calls that come later are refused; no log is left behind."""
    path = tmp_path / "table.db"
    began, proceed = threading.Event(), threading.Event()

    def stuck() -> float:
        began.set()
        proceed.wait(timeout=10)
        return 1_000.0

    opening = contextlib.AsyncExitStack()
    table = await opening.enter_async_context(open_sqlite(path, clock=stuck))
    writes = [asyncio.create_task(table.write(Add(KEY, 1)))]
    assert await asyncio.to_thread(began.wait, 10)
    writes += [asyncio.create_task(table.write(Add(KEY, 1))) for _ in range(99)]
    await asyncio.wait(writes, timeout=0.0)
    closing = asyncio.create_task(opening.aclose())
    await asyncio.wait({closing}, timeout=0.0)
    with pytest.raises(UnavailableError):
        await table.write(Add(KEY, 1))
    proceed.set()
    await asyncio.gather(*writes, closing)
    with pytest.raises(UnavailableError):
        await table.get(KEY)
    assert not path.with_name("table.db-wal").exists()
    async with open_sqlite(path) as reopened:
        assert (await reopened.get_many([KEY]))[KEY].number == 100


async def test_items_expire_by_the_clock_and_are_removed(tmp_path: Path) -> None:
    """An item vanishes when its time comes, and the writer takes it out of the file with a later write."""
    path = tmp_path / "table.db"
    now = 1_000.0
    async with open_sqlite(path, clock=lambda: now) as table:
        await table.write(*(Put(Key(b"p", b"%d" % number), b"", expires_at=1_001.0) for number in range(50)))
        assert len(await table.query(b"p", limit=100)) == 50
        now = 1_001.0
        assert await table.query(b"p", limit=100) == []
        await table.write(Put(KEY, b""))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (1,)


@pytest.mark.parametrize(
    ("operation", "value", "number"),
    [(Put(KEY, b"new", Existence.ABSENT), b"new", 0), (Put(KEY, b"new"), b"new", 0), (Add(KEY, 3), b"", 3)],
)
async def test_an_expired_item_is_replaced(tmp_path: Path, operation: Put | Add, value: bytes, number: int) -> None:
    """An item that has expired, and that nobody removed yet, counts as absent for conditions and additions."""
    now = 1_000.0
    async with open_sqlite(tmp_path / "table.db", clock=lambda: now) as table:
        await table.write(Put(KEY, b"old", expires_at=1_001.0))
        await table.write(Add(KEY, 7))
        now = 1_001.0
        await table.write(operation)
        found = await table.get(KEY)
    assert found
    assert (found.value, found.number) == (value, number)


@pytest.mark.parametrize("condition", [Existence.PRESENT, AtVersion(1)])
async def test_an_expired_item_fails_conditions(tmp_path: Path, condition: Existence | AtVersion) -> None:
    """Nothing can be demanded of an item that has expired, removed or not."""
    now = 1_000.0
    async with open_sqlite(tmp_path / "table.db", clock=lambda: now) as table:
        await table.write(Put(KEY, b"old", expires_at=1_001.0))
        now = 1_001.0
        with pytest.raises(ConditionFailedError):
            await table.write(Check(KEY, condition))


@pytest.mark.parametrize("content", ["no database at all" * 100, ""])
async def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    """A foreign file, or one of another format, is left alone and the operator is told."""
    path = tmp_path / "table.db"
    path.write_text(content)
    if not content:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match=r"cannot be opened"):
        async with open_sqlite(path):
            pass
    if content:
        assert path.read_bytes() == before
