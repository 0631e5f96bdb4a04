"""The lease, on a real table."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from meshkit.lease import Lease
from meshkit.table.port import Key, Put, Table
from meshkit.table.sqlite import open_sqlite

KEY = Key(b"lease", b"work")
PATIENCE = 20.0


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    """Open an empty table."""
    async with open_sqlite(tmp_path / "table.db") as opened:
        yield opened


async def test_a_lease_has_one_holder(table: Table) -> None:
    """Nobody else gets a lease that its holder keeps up; who lost it is told at the next try."""
    one, two = Lease(table, KEY, seconds=0), Lease(table, KEY, seconds=60)
    assert await one.hold(b"one")
    assert not await two.hold(b"two")
    assert two.note == b"one"
    assert await one.hold(b"one again")
    three = Lease(table, KEY, seconds=0)
    assert await three.hold(b"three")
    assert not await two.hold(b"two")
    assert two.note == b"three"
    await one.release()
    assert await three.hold(b"three again")


async def test_a_released_lease_is_free_at_once(table: Table) -> None:
    """Whoever comes first after a release gets the lease, and only he; its note is still that of the holder before."""
    one, two, three = (Lease(table, KEY, seconds=60) for _ in range(3))
    assert await one.hold(b"one")
    assert not await two.hold(b"two")
    await one.release()
    await one.release()
    assert await two.hold(b"two")
    assert not await three.hold(b"three")
    assert three.note == b"two"


@pytest.mark.parametrize("moments", [1, 50])
async def test_a_lease_is_released_though_its_renewal_was_cut_short(table: Table, moments: int) -> None:
    """A holder that is cancelled while it keeps the lease up releases it, whether the write was done by then or not."""
    one, two = Lease(table, KEY, seconds=60), Lease(table, KEY, seconds=60)
    assert await one.hold(b"one")
    renewing = asyncio.create_task(one.hold(b"one again"))
    for _ in range(moments):
        await asyncio.sleep(0)
    renewing.cancel()
    await asyncio.wait([renewing])
    await one.release()
    assert await two.hold(b"two")
    await one.release()
    assert await two.hold(b"two again")


async def test_a_holder_that_wakes_up_late_finds_the_lease_taken(table: Table) -> None:
    """Who slept through the end of his lease and the next holder's whole time does not get it while a third one holds it."""
    late, second, third = Lease(table, KEY, seconds=60), Lease(table, KEY, seconds=0), Lease(table, KEY, seconds=60)
    assert await late.hold(b"")
    assert await second.hold(b"")
    await second.release()
    assert await third.hold(b"")
    assert not await late.hold(b"")
    assert await third.hold(b"")


@pytest.mark.parametrize(
    "row", [msgspec.msgpack.encode({"holder": "other"}), b"", b"\x92\xa1\xff\xc4\x00"], ids=["another shape", "empty", "no UTF-8"]
)
async def test_a_row_of_another_release_is_held_by_somebody(table: Table, row: bytes) -> None:
    """A row that cannot be read is left to its holder as long as it changes, taken when it does not, and told of once."""
    lease, refused = Lease(table, KEY, seconds=0.05), 0
    with capture_logs() as logs:
        for _ in range(3):
            await table.write(Put(KEY, row))
            assert not await lease.hold(b"mine")
        async with asyncio.timeout(PATIENCE):
            while not await lease.hold(b"mine"):
                refused += 1
    assert refused
    assert len(logs) == 1
    assert not await Lease(table, KEY, seconds=60).hold(b"")


async def test_a_lease_for_what_is_done_now_and_then(table: Table) -> None:
    """Its holder's pause is whole, and others pause half of it, so that they follow soon."""
    holder, other = (Lease.every(table, KEY, 0.1, lasting=60) for _ in range(2))
    assert await holder.hold(b"")
    assert not await other.hold(b"")
    async with asyncio.TaskGroup() as tasks:
        pauses = [tasks.create_task(lease.pause(0.1)) for lease in (holder, other)]
        ended, _ = await asyncio.wait(pauses, return_when=asyncio.FIRST_COMPLETED)
    assert ended == {pauses[1]}
