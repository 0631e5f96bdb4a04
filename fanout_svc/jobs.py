"""Where jobs are kept: a row, a set of done chunks, and a place among the running ones as long as the job runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from fanout_svc.domain import Job
from meshkit.buckets import bucket_of
from meshkit.clock import now_ms
from meshkit.ids import id_bytes, id_from
from meshkit.table.port import ConditionFailedError, Delete, Existence, Key, Put, Table

_SHARDS = 16
_DONE = b"done/"
_GIVEN_UP = b"given-up/"
_GIVEN_UP_SECONDS = 86_400
SWEEPER_LEASE = Key(b"sweeper", b"lease")


class _JobRow(msgspec.Struct, array_like=True):
    author_id: int
    chunk_count: int
    follower_count: int
    created_ms: int
    finished_ms: int
    turn: int
    delivered_count: int


class Found(NamedTuple):
    """A job, or None, and what is noted of one of its chunks."""

    job: Job | None
    done: bool
    given_up: bool


class JobRepository:
    """Jobs on a table. Finished jobs are kept for some seconds."""

    def __init__(self, table: Table, *, keep_seconds: float = 7 * 86_400) -> None:
        self._table = table
        self._keep_seconds = keep_seconds

    async def create(self, job: Job) -> Job:
        """Note a job, or give the one that was noted under the same id."""
        try:
            await self._table.write(
                Put(_job_key(job.job_id), _encode(job), condition=Existence.ABSENT), Put(_running_key(job.job_id), b"")
            )
        except ConditionFailedError:
            return await self.get(job.job_id) or job
        return job

    async def get(self, job_id: int) -> Job | None:
        """Give a job, or None."""
        item = await self._table.get(_job_key(job_id))
        return _decode(job_id, item.value) if item else None

    async def get_many(self, job_ids: Sequence[int]) -> list[Job]:
        """Give those of the jobs that there are."""
        items = await self._table.get_many([_job_key(job_id) for job_id in job_ids])
        return [_decode(job_id, items[key].value) for job_id in job_ids if (key := _job_key(job_id)) in items]

    async def find(self, job_id: int, index: int) -> Found:
        """Give a job, or None, and whether one of its chunks is noted as done, or as given up."""
        keys = _job_key(job_id), _done_key(job_id, index), _given_up_key(job_id, index)
        items = await self._table.get_many(keys)
        row = items.get(keys[0])
        return Found(_decode(job_id, row.value) if row else None, keys[1] in items, keys[2] in items)

    async def done_chunks(self, job: Job) -> Mapping[int, int]:
        """Give the indexes of a job's chunks that are done, and how many timelines each reached."""
        partition = _job_key(job.job_id).partition
        items = await self._table.query(partition, start=_DONE, end=_DONE + b"\xff", limit=job.chunk_count)
        return {int.from_bytes(item.key.sort.removeprefix(_DONE)): int.from_bytes(item.value) for item in items}

    async def note_chunk(self, job_id: int, index: int, delivered: int) -> None:
        """Note that a chunk is done, and how many timelines it reached."""
        await self._table.write(Put(_done_key(job_id, index), delivered.to_bytes(4), expires_at=self._expiry()))

    async def note_given_up(self, job_id: int, index: int) -> None:
        """Note for a day that a chunk is a dead letter. The broker may lose that; then the chunk is tried again."""
        await self._table.write(Put(_given_up_key(job_id, index), b"", expires_at=now_ms() / 1000 + _GIVEN_UP_SECONDS))

    async def finish(self, job: Job, delivered: int) -> bool:
        """Note that all of a job is done, and how many timelines it reached; tell whether nobody else had noted it."""
        finished = replace(job, finished_ms=now_ms(), delivered_count=delivered)
        row = Put(_job_key(job.job_id), _encode(finished), expires_at=self._expiry())
        try:
            await self._table.write(row, Delete(_running_key(job.job_id), condition=Existence.PRESENT))
        except ConditionFailedError:
            return False
        return True

    async def running(self, *, after: int, limit: int) -> list[int]:
        """Give the ids of running jobs above one, oldest first."""
        start = id_bytes(after + 1)
        shards = [await self._table.query(_running_partition(shard), start=start, limit=limit) for shard in range(_SHARDS)]
        return sorted(id_from(item.key.sort) for items in shards for item in items)[:limit]

    def _expiry(self) -> float:
        return now_ms() / 1000 + self._keep_seconds


def _job_key(job_id: int) -> Key:
    return Key(b"job/" + id_bytes(job_id), b"job")


def _done_key(job_id: int, index: int) -> Key:
    return Key(b"job/" + id_bytes(job_id), _DONE + index.to_bytes(4))


def _given_up_key(job_id: int, index: int) -> Key:
    return Key(b"job/" + id_bytes(job_id), _GIVEN_UP + index.to_bytes(4))


def _running_partition(shard: int) -> bytes:
    return b"running/%d" % shard


def _running_key(job_id: int) -> Key:
    return Key(_running_partition(bucket_of(job_id) % _SHARDS), id_bytes(job_id))


def _encode(job: Job) -> bytes:
    row = _JobRow(
        author_id=job.author_id,
        chunk_count=job.chunk_count,
        follower_count=job.follower_count,
        created_ms=job.created_ms,
        finished_ms=job.finished_ms,
        turn=job.turn,
        delivered_count=job.delivered_count,
    )
    return msgspec.msgpack.encode(row)


def _decode(job_id: int, value: bytes) -> Job:
    row = msgspec.msgpack.decode(value, type=_JobRow)
    return Job(job_id, **msgspec.structs.asdict(row))
