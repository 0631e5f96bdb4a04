"""Announcing, uploading and completing media, over gRPC and HTTP."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from feed.post.v1 import media_pb2
from feed.post.v1 import media_service_pb2 as pb

import post_svc.__main__ as post
from meshkit.ids import IdGenerator
from meshkit.media.types import BY_CONTENT_TYPE
from meshkit.queue.memory import MemoryQueue
from tests.rpc.client import Failure, Tokens, outcome, post_settings, refused, stubs
from tests.rpc.faults import refusing
from tests.rpc.media_calls import JPEG, MP4, PICTURE, MediaCalls
from tests.rpc.post_calls import Posts

CODE = grpc.StatusCode
ABSENT_ID = 2**64 - 1
ADA, BOB, EVE = 11, 12, 2**64 - 1
MIB = 2**20


@pytest.mark.parametrize("content_type", BY_CONTENT_TYPE)
async def test_an_upload_is_published_as_it_was_sent(media: MediaCalls, content_type: str) -> None:
    """Announce, upload as told, complete: anybody can read the same bytes, with their type, under a URL that nobody can guess."""
    created = await media.create(EVE, content_type, as_user=EVE)
    assert (created.media.user_id, created.media.content_type, created.media.size_bytes) == (EVE, content_type, len(PICTURE))
    assert (created.media.state, created.media.media_url) == (media_pb2.MEDIA_STATE_UPLOADING, "")
    assert await media.get(EVE, created.media.media_id) == created.media
    assert created.upload.method == "PUT"
    assert dict(created.upload.headers) == {"content-type": content_type, "content-length": str(len(PICTURE))}
    assert 290 < created.upload.expire_time.seconds - time.time() <= 300
    assert await media.send(created.upload) == 200
    done = await media.complete(EVE, created.media.media_id)
    assert done.state == media_pb2.MEDIA_STATE_READY
    assert done.create_time == created.media.create_time
    assert await media.read(done.media_url) == (200, content_type, PICTURE)
    assert len(done.media_url.rpartition("-")[2].partition(".")[0]) == 32
    assert await media.get(EVE, created.media.media_id) == done


@pytest.mark.parametrize(("content_type", "most"), [(JPEG, 20 * MIB), ("image/avif", 20 * MIB), (MP4, 512 * MIB)])
async def test_sizes_have_limits(media: MediaCalls, content_type: str, most: int) -> None:
    """A picture has 1 byte to 20 MiB, a video to 512 MiB; anything else is INVALID_ARGUMENT and names the field."""
    for size in (1, most):
        assert (await media.create(ADA, content_type, size)).media.size_bytes == size
    for size in (0, most + 1, 2**64 - 1):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "size_bytes"):
            await media.create(ADA, content_type, size)


@pytest.mark.parametrize(
    "wrong",
    ["", "image/svg+xml", "text/html", "application/pdf", "IMAGE/JPEG", "image/jpeg; q=1", " image/jpeg", "image/*", "x" * 65],
)
async def test_only_listed_types_are_taken(media: MediaCalls, wrong: str) -> None:
    """A type that is not on the list, above all one that can hold scripts, is INVALID_ARGUMENT and names the field."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "content_type"):
        await media.create(ADA, wrong)


async def test_what_is_not_uploaded_cannot_be_completed(media: MediaCalls) -> None:
    """Completing before the upload is FAILED_PRECONDITION and changes nothing: afterwards it works."""
    created = await media.create(ADA)
    for _ in range(2):
        with refused(CODE.FAILED_PRECONDITION, "MEDIA_NOT_UPLOADED"):
            await media.complete(ADA, created.media.media_id)
    assert await media.get(ADA, created.media.media_id) == created.media
    assert await media.send(created.upload) == 200
    assert (await media.complete(ADA, created.media.media_id)).media_url


async def test_another_file_than_announced_is_refused(media: MediaCalls) -> None:
    """An upload of another length does not arrive, so there is nothing to complete."""
    created = await media.create(ADA, JPEG, 5)
    upload = media_pb2.Upload(method="PUT", url=created.upload.url, headers={"content-type": JPEG})
    assert await media.send(upload, b"123456") == 403
    with refused(CODE.FAILED_PRECONDITION, "MEDIA_NOT_UPLOADED"):
        await media.complete(ADA, created.media.media_id)


async def test_completing_is_done_once_however_often_it_is_asked_for(media: MediaCalls) -> None:
    """Twenty completions at once and one later give the same answer; what is published stays."""
    created = await media.create(ADA)
    assert await media.send(created.upload) == 200
    answers = await asyncio.gather(*(media.complete(ADA, created.media.media_id) for _ in range(20)))
    assert await media.send(created.upload, PICTURE[::-1]) == 409
    answers.append(await media.complete(ADA, created.media.media_id))
    assert all(answer == answers[0] for answer in answers)
    assert (await media.read(answers[0].media_url))[2] == PICTURE


async def test_completions_and_uploads_at_once_end_in_one_file(media: MediaCalls) -> None:
    """While completions race and uploads replace each other, all give one URL, and what that shows is one upload for good."""
    created = await media.create(ADA)
    bodies = [bytes([number]) * len(PICTURE) for number in range(10)]
    assert await media.send(created.upload, bodies[0]) == 200

    async def complete() -> tuple[str, bytes]:
        url = (await media.complete(ADA, created.media.media_id)).media_url
        return url, (await media.read(url))[2]

    sending = asyncio.gather(*(media.send(created.upload, body) for body in bodies))
    seen = set(await asyncio.gather(*(complete() for _ in range(20))))
    assert set(await sending) <= {200, 409}
    ((url, body),) = seen
    assert body in bodies
    assert (await media.read(url))[2] == body


async def test_a_completion_that_broke_off_is_repeated(common: dict[str, object], media: MediaCalls) -> None:
    """When the row cannot be written after publishing, the upload stays open, and the next completion takes what is there then."""
    created = await media.create(ADA)
    assert await media.send(created.upload) == 200
    with refusing(Path(str(common["data_dir"])) / "posts.db", b"media/"), refused(CODE.UNAVAILABLE, "TABLE_FAILED"):
        await media.complete(ADA, created.media.media_id)
    assert (await media.get(ADA, created.media.media_id)).state == media_pb2.MEDIA_STATE_UPLOADING
    assert await media.send(created.upload, PICTURE[::-1]) == 200
    done = await media.complete(ADA, created.media.media_id)
    assert await media.read(done.media_url) == (200, JPEG, PICTURE[::-1])
    assert await media.send(created.upload) == 409


class OneId(IdGenerator):
    """Gives one id again and again, as two processes with one worker number may."""

    def next(self) -> int:
        """Give the id."""
        return 2**40


async def test_ids_that_are_taken_are_not_tried_for_ever(
    common: dict[str, object], queue: MemoryQueue, tokens: Tokens, media_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every new id is taken, announcing and posting end as RESOURCE_EXHAUSTED."""
    monkeypatch.setattr(post, "IdGenerator", OneId)
    settings = post_settings(common, media_public_url=media_url)
    async with post.running(settings, queue) as address, stubs(address) as connected:
        media, posts = MediaCalls(connected, tokens), Posts(connected, tokens)
        assert (await media.create(ADA)).media.media_id == (await posts.create(ADA, "text")).post_id == 2**40
        with refused(CODE.RESOURCE_EXHAUSTED, "CONTENTION"):
            await media.create(ADA)
        with refused(CODE.RESOURCE_EXHAUSTED, "CONTENTION"):
            await posts.create(ADA, "text")


async def test_media_is_its_users_own(media: MediaCalls) -> None:
    """Another's media is NOT_FOUND, exactly as media that never was; the owner's stays as it is."""
    created = await media.create(ADA)
    assert await media.send(created.upload) == 200
    answers = set[tuple[object, ...]]()
    for user, media_id in ((BOB, created.media.media_id), (BOB, ABSENT_ID), (ADA, ABSENT_ID)):
        for call in (media.get(user, media_id), media.complete(user, media_id)):
            failure = await outcome(call)
            assert isinstance(failure, Failure)
            answers.add((failure.code, failure.reason, failure.fields, failure.text))
    assert [answer[:3] for answer in answers] == [(CODE.NOT_FOUND, "MEDIA_NOT_FOUND", ("media_id",))]
    assert await media.get(ADA, created.media.media_id) == created.media
    for call in (media.get(ADA, 0), media.complete(ADA, 0)):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "media_id"):
            await call


async def test_nobody_uploads_for_another(media: MediaCalls) -> None:
    """A user_id that is not the caller, and a service, which is no user, are PERMISSION_DENIED; nobody is UNAUTHENTICATED."""
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "user_id"):
        await media.create(EVE, as_user=ADA)
    calls, service = media.stubs.media, media.tokens.service()
    announcement = pb.CreateMediaRequest(content_type=JPEG, size_bytes=1)
    for call in (
        calls.CreateMedia(announcement, metadata=service),
        calls.GetMedia(pb.GetMediaRequest(media_id=1), metadata=service),
        calls.CompleteMedia(pb.CompleteMediaRequest(media_id=1), metadata=service),
    ):
        with refused(CODE.PERMISSION_DENIED, "NOT_A_USER"):
            await call
    with refused(CODE.UNAUTHENTICATED, "TOKEN_MISSING"):
        await calls.CreateMedia(announcement)


async def test_a_repeated_announcement_names_the_same_media(media: MediaCalls) -> None:
    """Repeats, also at once, name one media with an upload that works; once it is READY there is none to make."""
    answers = await asyncio.gather(*(media.create(ADA, request_id="r-1") for _ in range(20)))
    assert len({answer.media.media_id for answer in answers}) == 1
    assert await media.send(answers[-1].upload) == 200
    done = await media.complete(ADA, answers[0].media.media_id)
    again = await media.create(ADA, request_id="r-1")
    assert (again.media, again.HasField("upload")) == (done, False)
    assert (await media.create(BOB, request_id="r-1")).media.media_id != done.media_id
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await media.create(ADA, size=1, request_id="r-1")
    assert (await media.create(ADA)).media.media_id != (await media.create(ADA)).media.media_id


async def test_media_outlives_a_restart(common: dict[str, object], queue: MemoryQueue, tokens: Tokens, media_url: str) -> None:
    """What was announced before a restart can be completed after it; what was READY stays, under the new public URL."""
    async with (
        post.running(post_settings(common, media_public_url=media_url), queue) as address,
        stubs(address) as connected,
    ):
        media = MediaCalls(connected, tokens)
        ready, announced = await media.ready(ADA), await media.create(ADA)
    async with (
        post.running(post_settings(common, media_public_url="https://cdn.example"), queue) as address,
        stubs(address) as connected,
    ):
        media = MediaCalls(connected, tokens)
        assert await media.send(announced.upload) == 200
        done = await media.complete(ADA, announced.media.media_id)
        assert done.media_url.startswith(f"https://cdn.example/media/{ADA}/")
        media_id = int(ready.rpartition("/")[2].partition("-")[0])
        assert (await media.get(ADA, media_id)).media_url == ready.replace(media_url, "https://cdn.example")


async def test_what_is_never_completed_is_forgotten(common: dict[str, object], media: MediaCalls) -> None:
    """Announced media is gone after two days, as if it had never been; what was completed stays for good."""
    file = Path(str(common["data_dir"])) / "posts.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        created, ready = await media.create(ADA), await media.create(ADA)
        rows = {each.media.media_id: (each.media.media_id.to_bytes(8),) for each in (created, ready)}
        assert await media.send(ready.upload) == 200
        done = await media.complete(ADA, ready.media.media_id)
        expiries = [other.execute("SELECT expires_at FROM items WHERE sort = ?", row).fetchone()[0] for row in rows.values()]
        assert abs(expiries[0] - time.time() - 2 * 86_400) < 60
        assert expiries[1] is None
        assert other.execute("UPDATE items SET expires_at = 1 WHERE sort = ?", rows[created.media.media_id]).rowcount == 1
    for call in (media.get(ADA, created.media.media_id), media.complete(ADA, created.media.media_id)):
        with refused(CODE.NOT_FOUND, "MEDIA_NOT_FOUND", "media_id"):
            await call
    assert await media.get(ADA, done.media_id) == done
