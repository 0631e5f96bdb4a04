"""How a service answers trouble: deadlines, faults of its table, too many calls, and its own end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from feed.graph.v1 import follow_service_pb2
from feed.post.v1 import post_service_pb2 as pb
from feed.post.v1 import post_service_pb2_grpc
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

import post_svc.__main__ as post
from meshkit.ids import IdGenerator
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.rpc.edge import Edge, EdgeInterceptor, access_of
from meshkit.table.sqlite import open_sqlite
from post_svc.attachments import Attachments
from post_svc.delivery_rows import DeliveryRepository
from post_svc.events import encode
from post_svc.media_rows import MediaRepository
from post_svc.posts import PostRepository
from post_svc.reading import PostReader
from post_svc.service import PostService
from post_svc.servicer import PostServicer
from post_svc.turned import TurnedAuthors
from tests.rpc.client import (
    PATIENCE,
    Failure,
    Stubs,
    Tokens,
    failure_of,
    outcome,
    post_settings,
    raw,
    refused,
    stubs,
    task_of,
    until,
)
from tests.rpc.faults import drop_items, locked, spoil_values
from tests.rpc.nobody import Nobody
from tests.rpc.post_calls import Post, Posts
from tests.rpc.probes import answers, check, health, reflected, watch

CODE = grpc.StatusCode
ADA = 11
Common = dict[str, object]
Status = health_pb2.HealthCheckResponse


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    """Give the file of the post service's table."""
    return tmp_path / "data" / "posts.db"


class Stoppable:
    """A running post service that a test can stop."""

    def __init__(self, address: str, stopping: asyncio.Event, task: asyncio.Task[None]) -> None:
        self.address = address
        self._stopping = stopping
        self._task = task

    def begin_to_stop(self) -> None:
        """Have the service stop in order."""
        self._stopping.set()

    async def stopped(self) -> None:
        """Wait for its end."""
        async with asyncio.timeout(PATIENCE):
            await self._task


@asynccontextmanager
async def stoppable(common: Common, **settings: object) -> AsyncIterator[Stoppable]:
    """Run a post service in a task of its own."""
    stopping = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with MemoryQueue() as queue, post.running(post_settings(common, **settings), queue) as bound:
            address.set_result(bound)
            await stopping.wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        yield Stoppable(await address, stopping, task)
        stopping.set()


async def test_a_deadline_that_passes_is_deadline_exceeded(posts: Posts, table_file: Path) -> None:
    """A call that takes longer than its caller allows ends with DEADLINE_EXCEEDED; the service goes on."""
    made = await posts.create(ADA)
    with locked(table_file), refused(CODE.DEADLINE_EXCEEDED, ""):
        await posts.stubs.posts.CreatePost(pb.CreatePostRequest(content="x"), metadata=posts.tokens.user(ADA), timeout=0.1)
    assert await posts.get(made.post_id) == made
    assert await posts.create(ADA)


async def test_a_call_without_a_deadline_has_one_too(common: Common, tokens: Tokens, table_file: Path) -> None:
    """The edge ends a call after its own bound, with DEADLINE_EXCEEDED and a text that says that the call may have been done."""
    settings = post_settings(common)
    access = access_of([method for service in post.DESCRIPTORS for method in service.methods])
    edge = Edge(settings.user_tokens(), settings.service_tokens("post"), access, max_calls=10, max_seconds=0.1)
    server = grpc.aio.server(interceptors=[EdgeInterceptor(edge)])
    async with MemoryQueue() as queue, open_sqlite(table_file) as table:
        attachments = Attachments(MediaRepository(table), "https://media.test")
        service = PostService(
            table, IdGenerator(1), Outbox(table, queue), encode, attachments, Nobody(), TurnedAuthors(DeliveryRepository(table))
        )
        reader = PostReader(PostRepository(table), Nobody())
        post_service_pb2_grpc.add_PostServiceServicer_to_server(PostServicer(service, reader, settings.page_tokens()), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with stubs(f"127.0.0.1:{port}") as connected:
                with locked(table_file):
                    answer = await outcome(Posts(connected, tokens).create(ADA))
        finally:
            await server.stop(None)
    text = "the deadline is over; the call may have been done"
    assert answer == Failure(CODE.DEADLINE_EXCEEDED, "", (), text)


@pytest.mark.parametrize(("remaining", "seconds"), [(None, 30), (600, 30), (5, 5), (0.0, 0)])
def test_a_call_gets_the_time_that_its_caller_has_left(common: Common, remaining: float | None, seconds: float) -> None:
    """That is never more than the edge's own bound, and nothing when it is just over."""
    settings = post_settings(common)
    edge = Edge(settings.user_tokens(), settings.service_tokens("post"), {}, max_calls=1, max_seconds=30)
    assert edge.seconds(remaining) == seconds


async def test_an_unexpected_failure_is_internal_and_says_nothing(posts: Posts, table_file: Path) -> None:
    """Rows that cannot be read answer INTERNAL without a word of ours or of a library's; the log has it all."""
    made = await posts.create(ADA, "the content of a post")
    spoil_values(table_file)
    with capture_logs() as logs:
        for call in (posts.get(made.post_id), posts.write(ADA, made.post_id, "x"), posts.by_author(ADA, ADA)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert failure_of(caught.value) == Failure(CODE.INTERNAL, "", (), "internal error")
            assert not [value for key, value in caught.value.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert [log["method"].rpartition("/")[2] for log in logs if log["event"] == "unexpected failure"] == [
        "GetPost",
        "UpdatePost",
        "ListUserPosts",
    ]


async def test_a_table_that_fails_is_unavailable(posts: Posts, table_file: Path) -> None:
    """A table that was taken away answers UNAVAILABLE, for reads and writes, without the engine's words or paths."""
    made = await posts.create(ADA)
    drop_items(table_file)
    for call in (posts.get(made.post_id), posts.create(ADA), posts.delete(ADA, made.post_id)):
        answer = await outcome(call)
        assert isinstance(answer, Failure)
        assert (answer.code, answer.reason, answer.fields) == (CODE.UNAVAILABLE, "TABLE_FAILED", ())
        for word in ("items", "sqlite", "no such", str(table_file), "Error"):
            assert word not in answer.text


async def create_when_there_is_room(posts: Posts, content: str) -> Post:
    """Publish a post; the calls that find out whether the service is full may be in the way at first."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await outcome(posts.create(ADA, content))
            if isinstance(answer, Post):
                return answer
            assert answer.code is CODE.RESOURCE_EXHAUSTED, answer


async def full(posts: Posts) -> bool:
    """Tell whether a service runs as many calls as it may."""
    answer = await outcome(posts.get(2**64 - 1))
    assert isinstance(answer, Failure)
    return answer.code is CODE.RESOURCE_EXHAUSTED


async def test_too_many_calls_are_refused_and_the_rest_is_done(common: Common, tokens: Tokens, table_file: Path) -> None:
    """Beyond the bound a call is RESOURCE_EXHAUSTED at once, but not a health check; those that run finish, and make room again."""
    async with stoppable(common, max_concurrent_calls=2) as service, stubs(service.address) as connected:
        posts = Posts(connected, tokens)
        with locked(table_file) as lock:
            running = asyncio.gather(*(create_when_there_is_room(posts, content) for content in ("one", "two")))
            await until(lambda: full(posts))
            assert await check(connected.channel) == Status.SERVING
            lock.execute("ROLLBACK")
            assert {each.content for each in await running} == {"one", "two"}
        for _ in range(20):
            with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
                await posts.get(2**64 - 1)


async def test_health_is_told_to_everybody(graph_stubs: Stubs) -> None:
    """Health answers without a token, for the process and for each of its services, and does not know others."""
    for service in ("", "feed.graph.v1.UserService", "feed.graph.v1.FollowService"):
        assert await check(graph_stubs.channel, service) == Status.SERVING
    with refused(CODE.NOT_FOUND, ""):
        await check(graph_stubs.channel, "feed.post.v1.PostService")


async def refuses(address: str) -> bool:
    """Tell whether nobody takes calls at an address."""
    return not await answers(address)


async def test_a_stopping_service_finishes_what_runs(common: Common, tokens: Tokens, table_file: Path) -> None:
    """At its end a service takes no new calls and finishes the running one, which is acknowledged and kept."""
    async with stoppable(common, max_concurrent_calls=1) as service, stubs(service.address) as connected:
        posts = Posts(connected, tokens)
        with locked(table_file) as lock:
            async with task_of(create_when_there_is_room(posts, "last words")) as last:
                await until(lambda: full(posts))  # then it has come in
                service.begin_to_stop()
                await until(lambda: refuses(service.address))
                assert not last.done()
                lock.execute("ROLLBACK")
                made = await last
        await service.stopped()
    async with stoppable(common) as service, stubs(service.address) as connected:
        assert await Posts(connected, tokens).get(made.post_id, ADA) == made


async def test_a_stopping_service_says_so_before_it_refuses(common: Common, tokens: Tokens) -> None:
    """During the notice health is NOT_SERVING for every service, to watchers and askers, and calls are still answered."""
    async with stoppable(common, drain_notice=0.5) as service, stubs(service.address) as connected:
        posts = Posts(connected, tokens)
        watching = watch(connected.channel)
        told = aiter(watching)
        assert (await anext(told)).status == Status.SERVING
        service.begin_to_stop()
        assert (await anext(told)).status == Status.NOT_SERVING
        assert await health(service.address, "feed.post.v1.PostService") == Status.NOT_SERVING
        assert await posts.create(ADA)
        watching.cancel()
        await service.stopped()


async def test_a_port_that_is_taken_is_said_plainly(common: Common, tmp_path: Path) -> None:
    """A service that cannot have its address fails with an OSError that names it."""
    async with stoppable(common) as service, MemoryQueue() as queue:
        second = post_settings({"data_dir": tmp_path / "second"}, post_listen=service.address)
        with pytest.RaisesGroup(pytest.RaisesExc(OSError, match=service.address), allow_unwrapped=True, flatten_subgroups=True):
            async with post.running(second, queue):
                pass


async def test_reflection_is_there_when_switched_on(common: Common) -> None:
    """With the setting, anybody may ask for the contract; it lists the services, health and reflection itself."""
    async with stoppable(common, reflection=True) as service:
        names = await reflected(service.address)
    ours = {"feed.post.v1.PostService", "feed.post.v1.DeliveryService", "feed.post.v1.MediaService"}
    assert names == {*ours, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_reflection_is_off_by_default(common: Common) -> None:
    """Without the setting, the contract is not given away: UNIMPLEMENTED."""
    async with stoppable(common) as service:
        with refused(CODE.UNIMPLEMENTED, ""):
            await reflected(service.address)


async def test_unknown_methods_are_unimplemented(graph_stubs: Stubs, tokens: Tokens) -> None:
    """A method or a service that is not here is UNIMPLEMENTED, with and without a token."""
    for path in ("/feed.graph.v1.UserService/DropUser", "/feed.post.v1.PostService/GetPost", "/x/y"):
        for metadata in ((), tokens.user(ADA)):
            with refused(CODE.UNIMPLEMENTED, ""):
                await raw(graph_stubs, path)(b"", metadata=metadata)


async def test_a_request_that_cannot_be_decoded_is_refused(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Bytes that are not the message answer an error, and the service goes on."""
    call = raw(graph_stubs, "/feed.graph.v1.FollowService/IsFollowing")
    with contextlib.suppress(grpc.aio.AioRpcError):
        raise AssertionError(await call(b"\xff\xff\xff", metadata=tokens.user(ADA)))
    request = follow_service_pb2.IsFollowingRequest(followee_id=1)
    assert not (await graph_stubs.follows.IsFollowing(request, metadata=tokens.user(ADA))).following
