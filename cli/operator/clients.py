"""The services' own gRPC, as operators call it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Self

from feed.event.v1 import event_pb2
from feed.fanout.v1 import fanout_service_pb2, fanout_service_pb2_grpc, job_pb2
from feed.post.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from cli.dev_tokens import TokenError
from cli.operator.domain import AuthorCost, AuthorDelivery, DeadLetter, Job, ThresholdPreview
from cli.transport import AddressError
from meshkit.auth import ServiceTokens
from meshkit.errors import NotFoundError
from meshkit.rpc.addresses import target
from meshkit.rpc.calls import Call
from meshkit.rpc.client import Peer, connected
from meshkit.settings import MeshSettings

_FANOUT = fanout_service_pb2.DESCRIPTOR.services_by_name["FanoutService"].methods_by_name
_DELIVERIES = delivery_service_pb2.DESCRIPTOR.services_by_name["DeliveryService"].methods_by_name
_PAGE = 100
_CHUNK_TOPICS = "fanout."


class FanoutClient:
    """Fan-out."""

    CALLS: ClassVar = tuple(Call(method, seconds=10) for method in _FANOUT.values())

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._fanout: fanout_service_pb2_grpc.FanoutServiceAsyncStub = fanout_service_pb2_grpc.FanoutServiceStub(peer.channel)

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str, data_dir: Path) -> AsyncIterator[Self]:
        """Connect for the length of a block."""
        async with _connected("fanout", address, data_dir, cls.CALLS) as peer:
            yield cls(peer)

    async def job(self, job_id: int) -> Job | None:
        """Give a job, or None."""
        try:
            response = await self._peer.call(self._fanout.GetJob, fanout_service_pb2.GetJobRequest(job_id=job_id))
        except NotFoundError:
            return None
        return _job(response.job)

    async def running_jobs(self, limit: int) -> Sequence[Job]:
        """Give the oldest running jobs."""
        jobs: list[Job] = []
        token = ""
        while True:
            request = fanout_service_pb2.ListRunningJobsRequest(page_size=_PAGE, page_token=token)
            page = await self._peer.call(self._fanout.ListRunningJobs, request)
            jobs += map(_job, page.jobs)
            token = page.next_page_token
            if not token or len(jobs) >= limit:
                return jobs[:limit]

    async def dead_letters(self, queue: str, limit: int) -> Sequence[DeadLetter]:
        """Give the oldest messages that a queue gave up."""
        request = fanout_service_pb2.ListDeadLettersRequest(queue=queue, limit=limit)
        response = await self._peer.call(self._fanout.ListDeadLetters, request)
        return [DeadLetter(letter.topic, letter.reason, _told(letter.topic, letter.body)) for letter in response.dead_letters]

    async def redrive(self, queue: str) -> int:
        """Put back what a queue gave up, and tell how many messages."""
        request = fanout_service_pb2.RedriveDeadLettersRequest(queue=queue)
        return (await self._peer.call(self._fanout.RedriveDeadLetters, request)).count

    async def preview(self, threshold: int) -> ThresholdPreview:
        """Tell what a threshold would do; 0 is the one that is set."""
        request = fanout_service_pb2.PreviewThresholdRequest(threshold=threshold)
        response = await self._peer.call(self._fanout.PreviewThreshold, request)
        authors = [_author_cost(author) for author in response.authors]
        return ThresholdPreview(response.threshold, authors, response.deliveries_a_day, response.merges_a_day)


class DeliveryClient:
    """How authors' posts get into feeds."""

    CALLS: ClassVar = tuple(Call(_DELIVERIES[name], seconds=10) for name in ("GetAuthorDelivery", "SetAuthorDelivery"))

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._deliveries: delivery_service_pb2_grpc.DeliveryServiceAsyncStub = delivery_service_pb2_grpc.DeliveryServiceStub(
            peer.channel
        )

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str, data_dir: Path) -> AsyncIterator[Self]:
        """Connect for the length of a block."""
        async with _connected("post", address, data_dir, cls.CALLS) as peer:
            yield cls(peer)

    async def get(self, author_id: int) -> AuthorDelivery:
        """Tell how an author's next posts get into feeds."""
        request = delivery_service_pb2.GetAuthorDeliveryRequest(author_id=author_id)
        return _author_delivery((await self._peer.call(self._deliveries.GetAuthorDelivery, request)).delivery)

    async def force(self, author_id: int, delivery: str) -> AuthorDelivery:
        """Turn an author to `push` or `pull` whatever others decide, or with `auto` leave it to them again."""
        name = "UNSPECIFIED" if delivery == "auto" else delivery.upper()
        request = delivery_service_pb2.SetAuthorDeliveryRequest(
            author_id=author_id, delivery=delivery_pb2.Delivery.Value(f"DELIVERY_{name}"), force=True
        )
        return _author_delivery((await self._peer.call(self._deliveries.SetAuthorDelivery, request)).delivery)


@asynccontextmanager
async def _connected(name: str, address: str, data_dir: Path, calls: Sequence[Call]) -> AsyncIterator[Peer]:
    """Connect to a service as one of the mesh's.

    Raises:
        AddressError: the address is none.
        TokenError: there is no key that the services share.

    """
    try:
        target(address)
    except ValueError as error:
        raise AddressError(str(error)) from error
    settings = MeshSettings(data_dir=data_dir)
    async with connected(name, address, _tokens(settings), calls, settings.tls()) as peer:
        yield peer


def _tokens(settings: MeshSettings) -> ServiceTokens:
    if not settings.service_key and not (settings.keys_dir / "service.key").exists():
        raise TokenError(
            f"there is no service key in {settings.keys_dir}: start the mesh with `feedmesh up` first, give its --data-dir, "
            "or set FEEDMESH_SERVICE_KEY"
        )
    return settings.service_tokens("operator")


def _job(job: job_pb2.Job) -> Job:
    return Job(
        job_id=job.job_id,
        kind=job_pb2.JobKind.Name(job.kind).removeprefix("JOB_KIND_").lower(),
        author_id=job.author_id,
        running=job.state == job_pb2.JOB_STATE_RUNNING,
        chunks=job.chunk_count,
        done_chunks=job.done_chunk_count,
        followers=job.follower_count,
        delivered=job.delivered_count,
        age_s=job.duration_ms / 1000,
    )


def _author_cost(author: fanout_service_pb2.AuthorCost) -> AuthorCost:
    return AuthorCost(
        author_id=author.author_id,
        followers=author.follower_count,
        active=author.active_follower_count,
        posts_a_day=author.posts_a_day,
        now=_word(author.delivery),
        then=_word(author.preview),
    )


def _author_delivery(delivery: delivery_pb2.AuthorDelivery) -> AuthorDelivery:
    return AuthorDelivery(_word(delivery.delivery), delivery.turn, delivery.forced)


def _word(delivery: "delivery_pb2.Delivery.ValueType") -> str:  # known to type checkers only
    return delivery_pb2.Delivery.Name(delivery).removeprefix("DELIVERY_").lower()


def _told(topic: str, body: bytes) -> str:
    """Write a message as text; one that cannot be read, perhaps the reason why it was given up, in hexadecimal."""
    message = job_pb2.Chunk() if topic.startswith(_CHUNK_TOPICS) else event_pb2.Event()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return body.hex()
    return text_format.MessageToString(message, as_one_line=True)
