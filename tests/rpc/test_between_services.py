"""How services call each other: even load, no call lost when a process goes, deadlines, and retries where they are safe."""

from __future__ import annotations  # the asynchronous stubs have types of their own only for type checkers

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from feed.graph.v1 import follow_service_pb2 as follows
from feed.graph.v1 import follow_service_pb2_grpc
from feed.post.v1 import post_service_pb2 as posts
from feed.post.v1 import post_service_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from meshkit import tracing
from meshkit.errors import UnavailableError
from meshkit.process import Child
from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer, connected
from meshkit.rpc.edge import SERVICE_TOKEN_METADATA
from meshkit.settings import MeshSettings
from meshkit.sockets import free_port
from tests.rpc.backend import BROKEN, DESCRIPTORS, Seen, backend, process, unavailable
from tests.rpc.client import ANY_PORT, PATIENCE, stubs, until
from tests.rpc.probes import watch

LIST = DESCRIPTORS[0].methods_by_name["ListFolloweeIds"]
CREATE = DESCRIPTORS[1].methods_by_name["CreatePost"]
QUICK = (Call(LIST, seconds=5), Call(CREATE, seconds=5))
Common = dict[str, object]


class Caller:
    """Calls the backends through a peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._follows: follow_service_pb2_grpc.FollowServiceAsyncStub = follow_service_pb2_grpc.FollowServiceStub(peer.channel)
        self._posts: post_service_pb2_grpc.PostServiceAsyncStub = post_service_pb2_grpc.PostServiceStub(peer.channel)

    async def read(self, user_id: int = 1) -> int:
        """Call a method that may be repeated, and tell who answered."""
        response = await self._peer.call(self._follows.ListFolloweeIds, follows.ListFolloweeIdsRequest(user_id=user_id))
        return response.followee_ids[0]

    async def write(self) -> int:
        """Call a method that may not be repeated, and tell who answered."""
        return (await self._peer.call(self._posts.CreatePost, posts.CreatePostRequest(content="x"))).post.user_id


@pytest.fixture
def settings(common: Common) -> MeshSettings:
    """Give the settings of every backend, with keys made."""
    made = MeshSettings.model_validate(common)
    made.service_tokens("caller")
    made.user_tokens()
    return made


@asynccontextmanager
async def caller(settings: MeshSettings, address: str, calls: tuple[Call, ...] = QUICK) -> AsyncIterator[Caller]:
    """Connect to backends."""
    async with connected("backend", address, settings.service_tokens("caller"), calls, settings.tls()) as peer:
        yield Caller(peer)


async def found(calls: Caller, number: int) -> None:
    """Wait until so many backends answer."""
    identities: set[int] = set()

    async def all_answered() -> bool:
        identities.add(await calls.read())
        return len(identities) == number

    await until(all_answered)


class Load:
    """Calls without a pause, several at a time, until it is told to stop; it counts who answered, and fails as a call fails."""

    def __init__(self, call: Callable[[], Awaitable[int]]) -> None:
        self._call = call
        self._over = False
        self.answers: Counter[int] = Counter()

    @asynccontextmanager
    async def going_on(self, at_once: int = 16) -> AsyncIterator[Load]:
        """Call during the block."""
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._go_on())
            try:
                yield self
            finally:
                self._over = True

    async def _go_on(self) -> None:
        while not self._over:
            self.answers[await self._call()] += 1

    async def answered(self, identity: int, more: int = 20) -> None:
        """Wait until somebody answered some more calls."""
        enough = self.answers[identity] + more

        async def so_many() -> bool:
            return self.answers[identity] >= enough

        await until(so_many)


async def test_load_is_shared_evenly(settings: MeshSettings) -> None:
    """Two backends get the same number of calls, at most one apart."""
    seen = Seen(1), Seen(2)
    async with (
        backend(settings, ANY_PORT, seen[0]) as one,
        backend(settings, ANY_PORT, seen[1]) as two,
        caller(settings, f"{one},{two}") as calls,
    ):
        await found(calls, 2)
        seen[0].calls = seen[1].calls = 0
        await asyncio.gather(*(calls.read() for _ in range(101)))
    assert sorted(each.calls for each in seen) == [50, 51]


async def test_a_killed_backend_fails_no_call_that_may_be_repeated(common: Common, settings: MeshSettings, tmp_path: Path) -> None:
    """`kill -9` of one of two processes under load: whatever it had under way is answered by the other."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(process(address, common, tmp_path / address, delay=0.02)) for address in addresses
        ]
        calls = await stack.enter_async_context(caller(settings, ",".join(addresses)))
        await found(calls, 2)
        async with Load(calls.read).going_on() as load:
            await load.answered(one.pid)
            os.kill(one.pid, signal.SIGKILL)
            await one.wait()
            await load.answered(two.pid, 100)


async def test_backends_restarted_in_turn_fail_no_call(common: Common, settings: MeshSettings, tmp_path: Path) -> None:
    """Each of two processes is stopped in order and started again under load: every call is answered, also those never repeated."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]

    def started(address: str, number: int) -> AbstractAsyncContextManager[Child]:
        return process(address, common, tmp_path / f"{address} {number}", delay=0.01, drain_notice=0.3)

    async with AsyncExitStack() as second, AsyncExitStack() as first, caller(settings, ",".join(addresses)) as calls:
        before = [
            await stack.enter_async_context(started(address, 0)) for stack, address in zip((first, second), addresses, strict=True)
        ]
        async with Load(calls.write).going_on() as load:
            for each in before:
                await load.answered(each.pid)
            for stack, address in zip((first, second), addresses, strict=True):
                await stack.aclose()
                again = await stack.enter_async_context(started(address, 1))
                await load.answered(again.pid)
        assert len(load.answers) == 4


async def test_a_connection_that_grew_old_is_renewed_without_a_failure(settings: MeshSettings) -> None:
    """Backends that end each connection after a moment fail no call, not even one that is never repeated."""
    seen = Seen(1), Seen(2)
    async with (
        backend(settings, ANY_PORT, seen[0], max_connection_age=0.2) as one,
        backend(settings, ANY_PORT, seen[1], max_connection_age=0.2) as two,
        caller(settings, f"{one},{two}") as calls,
        Load(calls.write).going_on(),
    ):
        for each in seen:
            await until(partial(each.reconnected, 3))


async def test_a_stop_waits_until_nobody_calls_any_more(settings: MeshSettings) -> None:
    """A caller that does not look at health is answered after the notice too, until it pauses; then the server is gone."""
    async with AsyncExitStack() as stack, asyncio.timeout(2 * PATIENCE):
        address = await stack.enter_async_context(backend(settings, ANY_PORT, Seen(5), drain_notice=0.01, drain_limit=PATIENCE))
        async with stubs(address) as connected:
            stopping = asyncio.ensure_future(stack.aclose())
            for _ in range(50):
                metadata = ((SERVICE_TOKEN_METADATA, settings.service_tokens("caller").mint()),)
                await connected.follows.ListFolloweeIds(follows.ListFolloweeIdsRequest(user_id=1), metadata=metadata)
                await asyncio.wait([stopping], timeout=0.002)
                assert not stopping.done()
            await stopping


async def test_watchers_do_not_hold_up_a_stop(settings: MeshSettings) -> None:
    """A server that is told to stop is gone at once although somebody watches its health, and says so."""
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        address = await stack.enter_async_context(backend(settings, ANY_PORT, drain_limit=10 * PATIENCE))
        async with stubs(address) as connected:
            told = aiter(watch(connected.channel))
            assert (await anext(told)).status == HealthCheckResponse.SERVING
            await stack.aclose()
            assert (await anext(told)).status == HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.aio.AioRpcError, match="the server is stopping"):
                await anext(told)


PATIENT = (Call(LIST, seconds=PATIENCE, patient=True), Call(CREATE, seconds=PATIENCE, patient=True))


async def test_a_patient_call_waits_for_its_peer(settings: MeshSettings) -> None:
    """A call that a queue's handler makes while the peer is away is answered when the peer comes."""
    address = f"127.0.0.1:{free_port()}"
    async with caller(settings, address, PATIENT) as patient, caller(settings, address) as hasty:
        waiting = asyncio.ensure_future(patient.write())
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await hasty.read()
        assert not waiting.done()
        async with backend(settings, address, Seen(5)):
            assert await waiting == 5


async def test_a_call_of_a_user_does_not_wait_for_a_peer_that_is_away(settings: MeshSettings) -> None:
    """Where a user waits, a peer that is away is found out long before the deadline."""
    async with caller(settings, f"127.0.0.1:{free_port()}", (Call(LIST, seconds=600),)) as calls:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(UnavailableError):
                await calls.read()


async def test_each_method_has_its_own_deadline(settings: MeshSettings) -> None:
    """A callee sees the deadline that its method was declared with."""
    seen = Seen()
    calls = Call(LIST, seconds=30), Call(CREATE, seconds=60, patient=True)
    async with backend(settings, ANY_PORT, seen) as address, caller(settings, address, calls) as calling:
        await calling.read()
        assert 20 < seen.seconds_left < 31
        await calling.write()
        assert 50 < seen.seconds_left < 61


async def test_a_call_ends_at_its_deadline(settings: MeshSettings) -> None:
    """A call that nobody answers, or a patient one that finds nobody, ends when its time is over."""
    seen = Seen(before=asyncio.Event().wait)
    short = (Call(LIST, seconds=0.1), Call(CREATE, seconds=0.1, patient=True))
    async with backend(settings, ANY_PORT, seen, drain_limit=0) as address, caller(settings, address, short) as calls:
        with pytest.raises(UnavailableError):
            await calls.read()
    async with caller(settings, f"127.0.0.1:{free_port()}", short) as calls:
        with pytest.raises(UnavailableError):
            await calls.write()


async def test_a_call_that_was_not_declared_is_not_made(settings: MeshSettings) -> None:
    """A method without a deadline cannot be called by mistake."""
    async with caller(settings, "127.0.0.1:1", (Call(LIST, seconds=1),)) as calls:
        with pytest.raises(KeyError, match="CreatePostRequest"):
            await calls.write()


async def test_only_what_may_be_repeated_is_and_only_where_no_queue_does_it(settings: MeshSettings) -> None:
    """An idempotent method gets three tries, one that is not gets one, and so does every call that a queue would repeat."""
    seen = Seen(drops=True)
    async with (
        backend(settings, ANY_PORT, seen) as address,
        caller(settings, address) as hasty,
        caller(settings, address, PATIENT) as patient,
    ):
        for call, tries in ((hasty.read, 3), (hasty.write, 1), (patient.read, 1), (patient.write, 1)):
            seen.calls = 0
            with pytest.raises(UnavailableError):
                await call()
            assert seen.calls == tries


async def test_what_a_service_answers_is_final(settings: MeshSettings) -> None:
    """A service that says that it cannot do anything now gets every call once, however often that may be repeated."""
    seen = Seen(before=unavailable)
    async with (
        backend(settings, ANY_PORT, seen) as address,
        caller(settings, address) as hasty,
        caller(settings, address, PATIENT) as patient,
    ):
        for call in (hasty.read, hasty.write, patient.read, patient.write):
            seen.calls = 0
            with pytest.raises(UnavailableError):
                await call()
            assert seen.calls == 1


async def test_retries_end_when_most_calls_fail(settings: MeshSettings) -> None:
    """The budget stops the retries of a peer that drops everything: many failing calls make far fewer tries than three each."""
    seen = Seen(drops=True)
    async with backend(settings, ANY_PORT, seen) as address, caller(settings, address) as calls:
        failures = await asyncio.gather(*(calls.read() for _ in range(400)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {UnavailableError}
    assert 400 < seen.calls < 800


async def test_a_trace_is_handed_on(settings: MeshSettings) -> None:
    """A callee works in its caller's trace, and in none when the caller has none."""
    seen = Seen()
    async with backend(settings, ANY_PORT, seen) as address, caller(settings, address) as calls:
        await calls.read()
        with tracing.continued(f"00-{'a' * 32}-{'b' * 16}-01"):
            await calls.read()
    assert seen.traces == {"", "a" * 32}


async def test_log_lines_name_the_trace(common: Common, settings: MeshSettings, tmp_path: Path) -> None:
    """What a service logs while it answers a call has the id of the call's trace; other lines have none."""
    address, log = f"127.0.0.1:{free_port()}", tmp_path / "log"
    async with process(address, common, log), caller(settings, address) as calls:
        with tracing.continued(f"00-{'a' * 32}-{'b' * 16}-01"), pytest.raises(Exception, match="refused a call: INTERNAL"):
            await calls.read(BROKEN)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["event"]: line.get("trace_id") for line in lines} == {
        "serving": None,
        "unexpected failure": "a" * 32,
        "stopping": None,
    }
