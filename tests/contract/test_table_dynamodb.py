"""What the table on DynamoDB promises beyond the port: what it makes of throttling, lost answers and servers that are gone."""

import asyncio
import gc
import itertools
import random
import socket
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.credentials import AioCredentials

from meshkit.aws import Access, Service, TableUrl
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.table.dynamodb import WRITES_WIDTH, DynamoDbTable, open_dynamodb
from meshkit.table.dynamodb_reads import BATCH_KEYS, BATCHES_UNDER_WAY
from meshkit.table.dynamodb_wire import UnansweredError, open_wire
from meshkit.table.port import Add, Existence, Item, Key, Put
from tests.contract.dynamodb_proxy import Call, Fault, LostError, Proxy, RefusedError, proxy_to

KEY = Key(b"p", b"s")
OTHER = Key(b"p", b"t")
ACTIONS: dict[str, tuple[str, Callable[[DynamoDbTable], Awaitable[object]]]] = {
    "get": ("BatchGetItem", lambda table: table.get(KEY)),
    "query": ("Query", lambda table: table.query(KEY.partition, limit=1)),
    "write": ("UpdateItem", lambda table: table.write(Put(KEY, b"new"))),
    "transaction": ("TransactWriteItems", lambda table: table.write(Put(KEY, b"new"), Add(OTHER, 1))),
}
READS = ("get", "query")
CONFLICT = partial(
    RefusedError, "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}, {"Code": "None"}]
)
Open = Callable[..., AbstractAsyncContextManager[DynamoDbTable]]


@pytest.fixture
async def proxy(dynamodb: Access) -> AsyncIterator[Proxy]:
    """Give a proxy in front of a server."""
    async with proxy_to(dynamodb) as opened:
        yield opened


@pytest.fixture
def open_through(proxy: Proxy, tmp_path: Path) -> Open:
    """Give what opens the test's table through the proxy."""
    return partial(open_dynamodb, TableUrl(proxy.access, tmp_path.name))


@pytest.fixture
async def table(open_through: Open, proxy: Proxy) -> AsyncIterator[DynamoDbTable]:
    """Give an open, empty table."""
    async with open_through() as opened:
        proxy.calls.clear()
        yield opened


def first(count: int, error: Callable[[], Exception], *, after: bool = False) -> Fault:
    """Fail the first calls; with `after`, once the server has done what they ask for."""
    numbers = itertools.count()

    async def fault(call: Call) -> dict[str, Any] | None:
        if next(numbers) >= count:
            return None
        if after:
            await call.forward()
        raise error()

    return fault


@pytest.mark.parametrize(
    "error",
    [
        lambda: RefusedError("ProvisionedThroughputExceededException"),
        lambda: RefusedError("ThrottlingException"),
        lambda: RefusedError("RequestLimitExceeded"),
        lambda: RefusedError("TransactionConflictException"),
    ],
)
@pytest.mark.parametrize("action", ACTIONS)
async def test_what_was_refused_for_now_is_asked_again(
    table: DynamoDbTable, proxy: Proxy, action: str, error: Callable[[], Exception]
) -> None:
    """A server without room, or busy with the same items, is asked again, and the caller never knows."""
    operation, act = ACTIONS[action]
    proxy.fault = first(3, error)
    await act(table)
    assert proxy.operations() == [operation] * 4


async def test_a_transaction_that_others_were_in_the_way_of_is_done_later(table: DynamoDbTable, proxy: Proxy) -> None:
    """A transaction cancelled for a conflict is written again, with a token of its own, and is done once."""
    proxy.fault = first(2, CONFLICT)
    await table.write(Add(KEY, 1), Add(OTHER, 1))
    tokens = [body["ClientRequestToken"] for _, body in proxy.calls]
    assert len(set(tokens)) == 3
    found = await table.get_many([KEY, OTHER])
    assert [item.number for item in found.values()] == [1, 1]


@pytest.mark.parametrize(
    ("action", "error", "reason"),
    [
        ("get", lambda: RefusedError("ProvisionedThroughputExceededException"), "TABLE_THROTTLED"),
        ("query", lambda: RefusedError("ThrottlingException"), "TABLE_THROTTLED"),
        ("write", lambda: RefusedError("RequestLimitExceeded"), "TABLE_THROTTLED"),
        ("write", lambda: RefusedError("TransactionConflictException"), "TABLE_CONTENDED"),
        ("transaction", CONFLICT, "TABLE_CONTENDED"),
    ],
)
async def test_a_server_that_never_has_room_is_overloaded(
    open_through: Open,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    error: Callable[[], Exception],
    reason: str,
) -> None:
    """When the deadline comes in a pause the caller hears that there was too much to do, having asked ever more seldom."""
    # Full pauses end after 25, 75, 175, 375, 775 and 1575 ms: the deadline, of which a get has half, is far from those.
    monkeypatch.setattr(random, "uniform", lambda _least, most: most)
    async with open_through(deadline=1.1) as table:
        proxy.calls.clear()
        proxy.fault = first(10_000, error)
        before = time.monotonic()
        with pytest.raises(OverloadedError) as failure:
            await ACTIONS[action][1](table)
    assert failure.value.reason == reason
    assert time.monotonic() - before < 2.0
    assert 2 <= len(proxy.calls) < 40


async def test_unprocessed_keys_are_asked_for_again_alone(table: DynamoDbTable, proxy: Proxy) -> None:
    """What a batch left out is asked for until it comes, and nothing else is; what came is not held back."""
    keys = [Key(b"p", b"%d" % number) for number in range(10)]
    await table.write(*(Put(key, key.sort) for key in keys))
    proxy.calls.clear()
    held = asyncio.Event()

    async def fault(call: Call) -> dict[str, Any]:
        (name, wanted), *_ = call.body["RequestItems"].items()
        if len(proxy.calls) == 2:
            await held.wait()
        answer = await call.forward()
        done = 6 if len(proxy.calls) == 1 else 3
        left = wanted["Keys"][done:]
        answer["Responses"][name] = [row for row in answer["Responses"][name] if {"p": row["p"], "s": row["s"]} not in left]
        return answer | {"UnprocessedKeys": {name: wanted | {"Keys": left}} if left else {}}

    proxy.fault = fault
    reads = [asyncio.create_task(table.get(key)) for key in keys]
    done, waiting = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(waiting)) == (6, 4)
    held.set()
    assert await asyncio.gather(*reads) == [Item(key, key.sort, 0, 1) for key in keys]
    batches = [body["RequestItems"].popitem()[1]["Keys"] for _, body in proxy.calls]
    assert [len(batch) for batch in batches] == [10, 4, 1]
    assert batches[1] == batches[0][6:]
    assert batches[2] == batches[0][9:]


@pytest.mark.parametrize("error", [LostError, lambda: RefusedError("InternalServerError", 500), lambda: RefusedError("x", 503)])
async def test_a_transaction_whose_answer_was_lost_is_done_once(
    table: DynamoDbTable, proxy: Proxy, error: Callable[[], Exception]
) -> None:
    """It is sent again as it was, with its token; the engine knows it again, so that neither sums nor conditions go wrong."""
    proxy.fault = first(2, error, after=True)
    await table.write(Add(KEY, 1), Put(OTHER, b"", Existence.ABSENT))
    assert proxy.operations() == ["TransactWriteItems"] * 3
    assert proxy.calls[0] == proxy.calls[1] == proxy.calls[2]
    assert await table.get(KEY) == Item(KEY, b"", 1, 1)


@pytest.mark.parametrize("error", [LostError, lambda: RefusedError("InternalServerError", 500), lambda: RefusedError("x", 503)])
async def test_a_single_write_whose_answer_was_lost_is_not_repeated(
    table: DynamoDbTable, proxy: Proxy, error: Callable[[], Exception]
) -> None:
    """Nobody knows whether it was done, and doing it twice would be wrong: the caller is told, and it was sent once."""
    proxy.fault = first(1, error, after=True)
    with pytest.raises(UnavailableError) as failure:
        await table.write(Add(KEY, 1))
    assert failure.value.reason == "TABLE_UNANSWERED"
    assert proxy.operations() == ["UpdateItem"]
    assert await table.get(KEY) == Item(KEY, b"", 1, 1)


@pytest.mark.parametrize("action", READS)
async def test_a_read_whose_answer_was_lost_is_repeated(table: DynamoDbTable, proxy: Proxy, action: str) -> None:
    """Reading twice changes nothing."""
    proxy.fault = first(2, LostError)
    await ACTIONS[action][1](table)
    assert len(proxy.calls) == 3


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_cannot_be_mended_by_asking_again_is_not(table: DynamoDbTable, proxy: Proxy, action: str) -> None:
    """A refusal that does not pass is told at once, without what the engine says about it."""
    operation, act = ACTIONS[action]
    proxy.fault = first(10_000, lambda: RefusedError("AccessDeniedException"))
    with pytest.raises(UnavailableError) as failure:
        await act(table)
    assert failure.value.reason == "TABLE_FAILED"
    assert "arn:" not in failure.value.message
    assert proxy.operations() == [operation]


async def test_a_transaction_that_cannot_be_done_fails_at_once(table: DynamoDbTable, proxy: Proxy) -> None:
    """A reason that is no condition and does not pass ends the write."""
    reasons = [{"Code": "None"}, {"Code": "ValidationError", "Message": "arn:aws:secret detail"}]
    proxy.fault = first(10_000, lambda: RefusedError("TransactionCanceledException", CancellationReasons=reasons))
    with pytest.raises(UnavailableError) as failure:
        await table.write(Add(KEY, 1), Add(OTHER, 1))
    assert failure.value.reason == "TABLE_FAILED"
    assert "arn:" not in failure.value.message
    assert len(proxy.calls) == 1


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_server_that_is_gone_is_unavailable(open_through: Open, proxy: Proxy, action: str) -> None:
    """Without a server every call ends at its deadline, or sooner if it had begun on a connection that was just being cut."""
    async with open_through(deadline=0.5) as table:
        assert proxy.stop
        await proxy.stop()
        before = time.monotonic()
        with pytest.raises(UnavailableError):
            await ACTIONS[action][1](table)
        assert time.monotonic() - before < 2.0


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_server_that_hangs_is_unavailable(open_through: Open, proxy: Proxy, action: str) -> None:
    """A server that takes calls and says nothing holds nobody beyond the deadline, and closing does not wait for it."""
    silence = asyncio.Event()

    async def fault(_call: Call) -> None:
        await silence.wait()

    async with open_through(deadline=0.5) as table:
        proxy.fault = fault
        before = time.monotonic()
        with pytest.raises(UnavailableError) as failure:
            await ACTIONS[action][1](table)
        assert failure.value.reason == "TABLE_TIMEOUT"
        held = asyncio.create_task(table.get(OTHER))
        await asyncio.sleep(0)
    assert time.monotonic() - before < 2.0
    with pytest.raises(UnavailableError):
        await held
    silence.set()


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_closed_table_is_unavailable(open_through: Open, action: str) -> None:
    """Who comes after the end is told so at once."""
    async with open_through() as table:
        pass
    with pytest.raises(UnavailableError) as failure:
        await ACTIONS[action][1](table)
    assert failure.value.reason == "TABLE_CLOSED"


async def test_gets_of_a_moment_share_calls(table: DynamoDbTable, proxy: Proxy) -> None:
    """Gets are read in batches of 100, each key once, whoever asks; everybody gets the answer."""
    keys = [Key(b"p", b"%d" % number) for number in range(250)]
    for some in (keys[:100], keys[100:200], keys[200:]):
        await table.write(*(Put(key, key.sort) for key in some))
    proxy.calls.clear()
    answers = await asyncio.gather(*(table.get(key) for key in [*keys, *keys]), table.get_many(keys))
    assert answers[:-1] == [Item(key, key.sort, 0, 1) for key in [*keys, *keys]]
    assert answers[-1] == {key: Item(key, key.sort, 0, 1) for key in keys}
    assert proxy.operations() == ["BatchGetItem"] * 3
    assert (table.stats.keys, table.stats.batches, table.stats.unanswered_keys) == (250, 3, 0)


def keys_of(calls: Sequence[tuple[str, dict[str, Any]]]) -> list[int]:
    """Tell how many keys each batch asked for."""
    return [len(wanted["Keys"]) for _, body in calls for wanted in body["RequestItems"].values()]


async def test_gets_wait_together_while_batches_are_under_way(open_through: Open, proxy: Proxy) -> None:
    """Only so many batches go out at once. What comes meanwhile fills the next ones, and is refused when too much waits."""
    held = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def fault(_call: Call) -> None:
        arrived.release()
        await held.wait()

    async with open_through(keys_backlog=BATCHES_UNDER_WAY + 2 * BATCH_KEYS) as table:
        proxy.calls.clear()
        proxy.fault = fault
        readers = []
        for number in range(BATCHES_UNDER_WAY):
            readers.append(asyncio.create_task(table.get(Key(b"early", b"%d" % number))))
            await arrived.acquire()
        for number in range(2 * BATCH_KEYS):
            readers.append(asyncio.create_task(table.get(Key(b"late", b"%d" % number))))
            await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as failure:
            await table.get(KEY)
        assert failure.value.reason == "TABLE_BACKLOG_FULL"
        held.set()
        assert await asyncio.gather(*readers) == [None] * len(readers)
    assert keys_of(proxy.calls) == [1] * BATCHES_UNDER_WAY + [BATCH_KEYS] * 2


async def test_a_failure_that_nobody_waits_for_is_no_trouble(table: DynamoDbTable, proxy: Proxy) -> None:
    """When a batch fails whose readers have all given up, the loop has nothing to complain about."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    arrived, held = asyncio.Event(), asyncio.Event()

    async def fault(call: Call) -> None:
        if call.operation != "BatchGetItem":
            return
        arrived.set()
        await held.wait()
        raise RefusedError("AccessDeniedException")

    proxy.fault = fault
    reader = asyncio.create_task(table.get(KEY))
    await arrived.wait()
    reader.cancel()
    await asyncio.wait([reader])
    held.set()
    async with asyncio.timeout(5):
        while table.stats.unanswered_keys:
            await table.query(b"p", limit=1)
    del reader
    gc.collect()
    assert not complaints


async def test_a_partition_without_capacity_holds_up_nobody_else(table: DynamoDbTable, proxy: Proxy) -> None:
    """While any number of reads of one partition are refused, and wait to ask again, others are answered."""
    arrived = asyncio.Semaphore(0)

    async def fault(call: Call) -> dict[str, Any]:
        arrived.release()
        (name, wanted), *_ = call.body["RequestItems"].items()
        left = [key for key in wanted["Keys"] if b64decode(key["p"]["B"]) == b"hot"]
        if left == wanted["Keys"]:
            raise RefusedError("ProvisionedThroughputExceededException")
        return await call.forward() | {"UnprocessedKeys": {name: wanted | {"Keys": left}} if left else {}}

    proxy.fault = fault
    hot = []
    for number in range(3 * BATCHES_UNDER_WAY):
        hot.append(asyncio.create_task(table.get(Key(b"hot", b"%d" % number))))
        await arrived.acquire()
    assert await table.get(KEY) is None
    assert not any(reader.done() for reader in hot)
    proxy.fault = None
    assert await asyncio.gather(*hot) == [None] * len(hot)


async def test_a_get_never_joins_a_batch_that_is_under_way(table: DynamoDbTable, proxy: Proxy) -> None:
    """Who asks after a write was acknowledged sees it, although an older read of the same item still waits for its answer."""
    held, arrived = asyncio.Event(), asyncio.Event()

    async def fault(call: Call) -> dict[str, Any] | None:
        if call.operation != "BatchGetItem" or arrived.is_set():
            return None
        arrived.set()
        answer = await call.forward()
        await held.wait()
        return answer

    proxy.fault = fault
    early = asyncio.create_task(table.get(KEY))
    await arrived.wait()
    await table.write(Put(KEY, b"new"))
    assert await table.get(KEY) == Item(KEY, b"new", 0, 1)
    held.set()
    await early


async def test_too_many_writes_are_refused(open_through: Open, proxy: Proxy) -> None:
    """What is under way is bounded, by operations and by bytes; more is refused at once and not sent."""
    held = asyncio.Event()
    arrived = asyncio.Event()

    async def fault(_call: Call) -> None:
        arrived.set()
        await held.wait()

    async with open_through(backlog=10) as table:
        proxy.calls.clear()
        proxy.fault = fault
        large = asyncio.create_task(table.write(Put(KEY, b"v" * 4096 * 10)))
        await arrived.wait()
        with pytest.raises(OverloadedError) as failure:
            await table.write(Add(OTHER, 1))
        assert failure.value.reason == "TABLE_BACKLOG_FULL"
        assert len(proxy.calls) == 1
        held.set()
        await large
        await table.write(Add(OTHER, 1))


async def test_an_item_expires_by_the_clock(open_through: Open) -> None:
    """An item is there until its second has come, and then for nobody, whether the engine has removed it or not."""
    now = time.time()
    ends = int(now) + 1000
    async with open_through(clock=lambda: now) as table:
        await table.write(Put(KEY, b"", expires_at=ends - 0.5))
        now = ends - 0.1
        assert await table.get(KEY)
        now = float(ends)
        assert await table.get(KEY) is None
        await table.write(Put(KEY, b"new", Existence.ABSENT))
        assert await table.get(KEY)


async def test_a_counter_that_expires_between_attempts_is_still_counted_right(open_through: Open, proxy: Proxy) -> None:
    """An addition that finds its item expired, and then finds that another made it anew, counts on from the other's number."""
    now = time.time()
    async with open_through(clock=lambda: now) as table:
        await table.write(Put(KEY, b"", expires_at=now + 10))
        now += 20
        proxy.calls.clear()
        numbers = itertools.count()

        async def fault(_call: Call) -> None:
            if next(numbers) == 1:
                proxy.fault = None
                await table.write(Add(KEY, 5))

        proxy.fault = fault
        await table.write(Add(KEY, 3))
        found = await table.get(KEY)
    assert found
    assert found.number == 8
    assert proxy.operations()[:-1] == ["UpdateItem"] * 5


async def test_writes_that_pile_up_are_shed_unsent_and_never_in_the_way_of_reads(open_through: Open, proxy: Proxy) -> None:
    """Behind writes that hang others wait for half the deadline, and were not done; gets and queries have their own connections."""
    silence = asyncio.Event()

    async def fault(call: Call) -> None:
        if call.operation == "UpdateItem":
            await silence.wait()

    async with open_through(deadline=2.0) as table:
        proxy.calls.clear()
        proxy.fault = fault
        before = time.monotonic()
        writes = [asyncio.create_task(table.write(Add(Key(b"p", b"%d" % number), 1))) for number in range(2 * WRITES_WIDTH)]
        await asyncio.sleep(0)
        assert await table.get(KEY) is None
        assert await table.query(b"p", limit=1) == []
        outcomes = await asyncio.gather(*writes[WRITES_WIDTH:], return_exceptions=True)
        assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == ["TABLE_BACKLOG_FULL"] * WRITES_WIDTH
        assert time.monotonic() - before < 1.8
        outcomes = await asyncio.gather(*writes[:WRITES_WIDTH], return_exceptions=True)
        assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == ["TABLE_TIMEOUT"] * WRITES_WIDTH
        assert proxy.operations().count("UpdateItem") == WRITES_WIDTH
        silence.set()


@pytest.mark.parametrize("action", ACTIONS)
async def test_time_that_ends_during_an_attempt_leaves_it_open(open_through: Open, proxy: Proxy, action: str) -> None:
    """Whatever was wrong before, what is under way when time is up may be done: that is no refusal."""
    silence = asyncio.Event()

    async def fault(_call: Call) -> None:
        if len(proxy.calls) == 1:
            raise RefusedError("ThrottlingException")
        await silence.wait()

    async with open_through(deadline=1.0) as table:
        proxy.calls.clear()
        proxy.fault = fault
        with pytest.raises(UnavailableError) as failure:
            await ACTIONS[action][1](table)
        assert failure.value.reason == "TABLE_TIMEOUT"
        assert len(proxy.calls) == 2
        silence.set()


async def test_a_transaction_that_was_lost_is_never_a_refusal(open_through: Open, proxy: Proxy) -> None:
    """A transaction whose answer was lost, and that was throttled from then on, may have been done."""

    async def fault(call: Call) -> None:
        if len(proxy.calls) == 1:
            await call.forward()
            raise LostError
        raise RefusedError("ThrottlingException")

    async with open_through(deadline=0.5) as table:
        proxy.calls.clear()
        proxy.fault = fault
        with pytest.raises(UnavailableError):
            await ACTIONS["transaction"][1](table)
    assert len(proxy.calls) > 1


async def test_a_slow_server_is_not_asked_twice(table: DynamoDbTable, proxy: Proxy) -> None:
    """An answer that takes seconds is waited for: asking again would make the server slower still."""

    async def fault(_call: Call) -> None:
        await asyncio.sleep(2.2)

    proxy.fault = fault
    await asyncio.gather(*(act(table) for name, (_, act) in ACTIONS.items() if name != "write"))
    assert sorted(proxy.operations()) == ["BatchGetItem", "Query", "TransactWriteItems"]


async def test_a_connection_whose_other_end_is_gone_is_given_up() -> None:
    """What nobody takes from the connection for two seconds counts as lost, so that there is time for another attempt."""
    with socket.socket() as nobody:
        nobody.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        nobody.bind(("127.0.0.1", 0))
        nobody.listen()
        service = Service(f"http://127.0.0.1:{nobody.getsockname()[1]}", "us-east-1", AioCredentials("K", "S"), None)
        async with open_wire(service, connections=1) as wire, asyncio.timeout(5):
            with pytest.raises(UnansweredError) as failure:
                await wire.call("Query", {"much": "x" * 8_000_000}, dict[str, Any])
    assert failure.value.sent


async def test_a_page_is_no_larger_than_what_is_missing(table: DynamoDbTable, proxy: Proxy) -> None:
    """A query of more than one page asks in the end for the rest only, and backwards from an item for one page."""
    for begin in range(0, 1100, 100):
        await table.write(*(Put(Key(b"p", b"%04d" % number), b"") for number in range(begin, begin + 100)))
    proxy.calls.clear()
    assert len(await table.query(b"p", limit=1001)) == 1001
    assert [body["Limit"] for _, body in proxy.calls] == [1000, 1]
    proxy.calls.clear()
    found = await table.query(b"p", start=b"0", end=b"0500", limit=2, reverse=True)
    assert [item.key.sort for item in found] == [b"0499", b"0498"]
    assert proxy.operations() == ["Query"]


async def test_everybody_gets_an_error_of_their_own(table: DynamoDbTable, proxy: Proxy) -> None:
    """Those who share a batch, and even a key, do not share the error's traceback."""
    proxy.fault = first(1, lambda: RefusedError("AccessDeniedException"))
    errors = await asyncio.gather(table.get(KEY), table.get(KEY), table.get(OTHER), return_exceptions=True)
    assert [getattr(error, "reason", error) for error in errors] == ["TABLE_FAILED"] * 3
    assert len({id(error) for error in errors}) == 3
    assert len(proxy.calls) == 1


async def test_a_fault_of_ours_is_not_called_a_closed_table(open_through: Open) -> None:
    """An error that nobody foresaw fails the gets it hits, and is reported; the next are served."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    times: list[float] = []
    async with open_through(clock=lambda: times[0]) as table:
        with pytest.raises(UnavailableError) as failure:
            await table.get(KEY)
        assert failure.value.reason == "TABLE_FAILED"
        times.append(time.time())
        assert await table.get(KEY) is None
    gc.collect()
    assert [type(context["exception"]) for context in complaints] == [IndexError]
