"""Dead letters through gRPC, on every queue engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc
import pytest
from feed.fanout.v1 import fanout_service_pb2, job_pb2

from fanout_svc.consumer import ChunkQueue, Concurrency, consuming
from fanout_svc.jobs import JobRepository
from fanout_svc.service import Worker
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.queue.memory import MemoryQueue
from meshkit.queue.port import Queue
from meshkit.queue.rabbitmq import open_rabbitmq
from meshkit.topics import FANOUT_CHUNK
from tests.fanout.conftest import Fanout, until
from tests.fanout.peers import ListRequest, Service, running_service
from tests.fanout.tables import Unanswered

AUTHOR = 7
OTHER = 8
FOLLOWERS = range(1, 100_000, 5_003)  # some in each half of the buckets
List = fanout_service_pb2.ListDeadLettersRequest
Redrive = fanout_service_pb2.RedriveDeadLettersRequest


@pytest.fixture(params=["memory", "rabbitmq"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    """Open a broker; what fails is tried again at once."""
    if request.param == "memory":
        async with MemoryQueue(pause=_at_once) as memory:
            yield memory
        return
    async with private_rabbitmq(tmp_path / "broker") as url:
        rabbitmq: AbstractAsyncContextManager[Queue] = open_rabbitmq(url, pause=_at_once)
        async with rabbitmq as opened:
            yield opened


async def test_dead_letters_are_shown_and_put_back(queue: Queue, tmp_path: Path) -> None:
    """What a queue gave up is listed with its reason, as many as asked for, and stays until it is put back and gets through."""
    async with running_service(tmp_path, queue) as service:
        service.followers.set(AUTHOR, FOLLOWERS)
        service.timelines.poison.add(AUTHOR)
        service.timelines.only_followers.add(AUTHOR)
        post_id = await service.created(AUTHOR)
        letters = await letters_of(service, 2)
        assert {letter.topic for letter in letters} == {FANOUT_CHUNK}
        assert {job_pb2.Chunk.FromString(letter.body).job_id for letter in letters} == {post_id}
        assert all(letter.reason for letter in letters)
        assert len(await letters_of(service, 1, limit=1)) == 1
        service.timelines.poison.clear()
        answer = await service.stub.RedriveDeadLetters(Redrive(queue="fanout.chunks"), metadata=service.metadata())
        assert answer.count == 2
        await until(lambda: service.timelines.times(post_id) == dict.fromkeys(FOLLOWERS, 1))
        assert await letters_of(service, 0) == []


@pytest.mark.parametrize("queue", ["rabbitmq"], indirect=True)
async def test_a_poisoned_chunk_is_one_dead_letter(queue: Queue, tmp_path: Path) -> None:
    """A chunk that was given up is not tried, nor kept, again when it is sent as the sweeper does, until it is put back."""
    async with running_service(tmp_path, queue) as service:
        for author in (AUTHOR, OTHER):
            service.followers.set(author, FOLLOWERS)
        service.timelines.poison.add(AUTHOR)
        service.timelines.only_followers.add(AUTHOR)
        post_id = await service.created(AUTHOR)
        letters = await letters_of(service, 2)
        service.timelines.poison.clear()
        for letter in letters:
            await queue.publish(letter.topic, letter.body)
        # Behind them in the queue.
        other_id = await service.created(OTHER)
        await until(lambda: service.timelines.times(other_id) == dict.fromkeys(FOLLOWERS, 1))
        assert await running_of(service, 1) == [post_id]
        assert not service.timelines.times(post_id)
        answer = await service.stub.RedriveDeadLetters(Redrive(queue="fanout.chunks"), metadata=service.metadata())
        assert answer.count == 2
        await until(lambda: service.timelines.times(post_id) == dict.fromkeys(FOLLOWERS, 1))


@pytest.mark.parametrize("queue", ["rabbitmq"], indirect=True)
async def test_a_chunk_is_a_dead_letter_though_that_was_noted_before(queue: Queue, fanout: Fanout) -> None:
    """A chunk that is noted as given up, and comes again before it is a dead letter, becomes one: it is no copy of itself."""
    chunk, *_ = await fanout.crash(fanout.post(AUTHOR, 60), AUTHOR)
    fanout.timelines.poison.add(AUTHOR)
    unanswered = Unanswered(fanout.table)
    worker = Worker(JobRepository(unanswered), fanout.reach, fanout.ending)
    async with consuming(queue, fanout.planner, worker, Concurrency(posts=1, chunks=1, bulk=1)), asyncio.timeout(30):
        await ChunkQueue(queue).send(chunk)
        while not await queue.dead_letters("fanout.chunks"):  # noqa: ASYNC110  # the port tells nobody of them
            await asyncio.sleep(0.05)
    assert unanswered.answers


async def test_only_queues_of_the_mesh_have_dead_letters(tmp_path: Path) -> None:
    """Another queue's name is refused, and the answer says which there are; those that there are can be asked for."""
    async with MemoryQueue() as memory, running_service(tmp_path, memory) as service:
        for call in (
            service.stub.ListDeadLetters(List(queue="nobody"), metadata=service.metadata()),
            service.stub.RedriveDeadLetters(Redrive(queue="nobody"), metadata=service.metadata()),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=r"timeline\.follows") as failure:
                await call
            assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for name in ("fanout.posts", "fanout.turns", "fanout.chunks", "fanout.bulk", "timeline.follows"):
            assert not (await service.stub.ListDeadLetters(List(queue=name), metadata=service.metadata())).dead_letters


async def letters_of(service: Service, count: int, limit: int = 0) -> list[fanout_service_pb2.DeadLetter]:
    """Wait until a list has so many dead letters."""
    async with asyncio.timeout(30):
        while True:
            request = List(queue="fanout.chunks", limit=limit)
            letters = (await service.stub.ListDeadLetters(request, metadata=service.metadata())).dead_letters
            if len(letters) == count:
                return list(letters)
            await asyncio.sleep(0.05)


async def running_of(service: Service, count: int) -> list[int]:
    """Wait until so many jobs are running, and give their ids."""
    async with asyncio.timeout(30):
        while len(jobs := (await service.list(ListRequest())).jobs) != count:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.05)
    return [job.job_id for job in jobs]


def _at_once(_deliveries: int) -> float:
    return 0.0
