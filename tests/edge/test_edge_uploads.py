"""Taking uploads: what is whole gets its place, what is not leaves nothing behind, and every refusal says why."""

import asyncio
import gzip
import json
import os
import resource
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from gateway.edge.app import UNPUBLISHED_LIFETIME_S, running_edge
from gateway.edge.settings import EdgeSettings
from meshkit.errors import UnavailableError
from meshkit.media.folder import MediaFolder
from meshkit.media.port import Arrived, Stored, Upload, UploadChangedError, UploadDiffersError
from tests.edge.conftest import BODY, KEY, PNG, UPLOAD, Answer, Edge, RunEdge


def refusal(answer: Answer) -> tuple[int, int, str]:
    """Give status, code and reason of a refusal, which must have its form."""
    body = json.loads(answer.body)
    assert set(body) == {"code", "message", "details"}
    assert body["message"]
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status, body["code"], body["details"][0]["reason"] if body["details"] else ""


async def eventually_files(edge: Edge, *names: str) -> None:
    """Wait until these files and no others are there; every look is a request."""
    async with asyncio.timeout(10):
        while edge.files() != sorted(names):
            await edge.ask("GET", f"{edge.url}/media/7/none.png")


@contextmanager
def no_large_files(size: int) -> Iterator[None]:
    """Let nobody in this process write a file larger than so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_refusals_say_why(edge: Edge) -> None:
    """Each kind of refusal has its status, code and reason, and leaves no file."""
    upload = await edge.upload()

    async def chunks() -> AsyncIterator[bytes]:
        yield BODY

    assert refusal(await edge.put(upload, chunks())) == (411, 3, "LENGTH_REQUIRED")
    assert refusal(await edge.put(upload, BODY + b"x")) == (403, 7, "UPLOAD_FORBIDDEN")
    assert refusal(await edge.ask("PUT", upload.url + "0", BODY, dict(upload.headers))) == (403, 7, "UPLOAD_FORBIDDEN")
    assert refusal(await edge.ask("PUT", f"{edge.url}/media/uploads/7/x.svg", BODY)) == (403, 7, "UPLOAD_FORBIDDEN")
    assert refusal(await edge.ask("GET", f"{edge.url}/nothing")) == (404, 5, "")
    wrong = await edge.ask("POST", upload.url, BODY)
    assert (refusal(wrong), wrong.headers["Allow"]) == ((405, 12, ""), "PUT")
    assert edge.files() == []


@pytest.mark.parametrize(
    ("old", "new", "content_type", "body"),
    [
        (f"size={PNG.size}", f"size={PNG.size + 1}", "image/png", BODY + b"x"),
        ("type=image%2Fpng", "type=image%2Fgif", "image/gif", BODY),
        ("type=image%2Fpng", "type=text%2Fhtml", "text/html", BODY),
    ],
)
async def test_what_a_url_allows_is_signed(edge: Edge, old: str, new: str, content_type: str, body: bytes) -> None:
    """A URL that is changed to allow another length or type is refused, also with headers that fit."""
    upload = await edge.upload()
    assert old in upload.url
    changed = Upload(upload.url.replace(old, new), {"content-type": content_type})
    assert refusal(await edge.put(changed, body)) == (403, 7, "UPLOAD_FORBIDDEN")
    assert edge.files() == []
    assert (await edge.put(upload)).status == 200


async def test_a_published_upload_takes_nothing_more(edge: Edge) -> None:
    """After completion the URL, which is still signed, is refused as a conflict."""
    upload = await edge.upload()
    assert (await edge.put(upload)).status == 200
    await edge.publish()
    await edge.store.discard(UPLOAD)
    assert refusal(await edge.put(upload, BODY[::-1])) == (409, 9, "UPLOAD_CLOSED")
    assert (await edge.ask("GET", f"{edge.url}/{KEY}")).body == BODY


async def test_a_large_file_arrives_whole(edge: Edge) -> None:
    """A video of many pieces is kept byte by byte."""
    video = os.urandom(1_000) * 20_000
    upload, key = "uploads/7/1.mp4", "media/7/1-a.mp4"
    expected = Stored("video/mp4", len(video))
    assert (await edge.put(await edge.store.presign_put(upload, expected, 60), video)).status == 200
    await edge.store.publish(await edge.store.arrived(upload, expected), key)
    assert (await edge.ask("GET", f"{edge.url}/{key}")).body == video


async def test_a_compressed_body_is_not_unpacked(edge: Edge) -> None:
    """The bytes are kept as they were sent, whatever encoding a header claims."""
    packed = gzip.compress(b"0" * 10_000)
    upload = await edge.upload(Stored("image/png", len(packed)))
    answer = await edge.put(upload, packed, **{"content-encoding": "gzip", "content-length": str(len(packed))})
    assert answer.status == 200
    await edge.publish(Stored("image/png", len(packed)))
    assert (await edge.ask("GET", f"{edge.url}/{KEY}")).body == packed


async def test_an_upload_that_breaks_off_leaves_nothing(edge: Edge) -> None:
    """A client that goes away in the middle leaves no file, and the upload can be sent again."""
    upload = await edge.upload(Stored("image/png", 1_000))
    host, _, port = edge.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    path = upload.url.removeprefix(edge.url)
    writer.write(f"PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\nabc".encode())
    await edge.part_begun()
    writer.close()
    await eventually_files(edge)
    assert (await edge.put(upload, bytes(1_000))).status == 200


async def test_an_upload_that_stands_still_is_ended(run_edge: RunEdge) -> None:
    """A client that sends nothing for too long is answered 408, and leaves no file."""

    async def stuck() -> AsyncIterator[bytes]:
        yield BODY[:3]
        await asyncio.Event().wait()

    async with run_edge(edge_idle_timeout=0.1) as edge:
        answer = await edge.put(await edge.upload(), stuck(), **{"content-length": str(len(BODY))})
        assert refusal(answer) == (408, 4, "UPLOAD_TOO_SLOW")
        assert edge.files() == []


async def test_a_drip_is_ended(run_edge: RunEdge) -> None:
    """A client that always sends a little is ended when the upload's time is over."""

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async with run_edge(edge_upload_timeout=0.2) as edge:
        upload = await edge.upload(Stored("image/png", 1_000_000))
        assert refusal(await edge.put(upload, drip(), **{"content-length": "1000000"})) == (408, 4, "UPLOAD_TOO_SLOW")
        assert edge.files() == []


async def test_too_low_a_rate_is_ended(run_edge: RunEdge) -> None:
    """A client that never stands still, and brings less than the least rate, is answered 408; one that brings more is not."""

    async def pieces(size: int, number: int) -> AsyncIterator[bytes]:
        for _ in range(number):
            yield bytes(size)
            await asyncio.sleep(0.02)

    async with run_edge(edge_idle_timeout=0.3, edge_min_rate=10_000) as edge:
        upload = await edge.upload(Stored("image/png", 1_000_000))
        async with asyncio.timeout(10):
            slow = await edge.put(upload, pieces(10, 100_000), **{"content-length": "1000000"})
        assert refusal(slow) == (408, 4, "UPLOAD_TOO_SLOW")
        upload = await edge.upload(Stored("image/png", 60_000))
        assert (await edge.put(upload, pieces(2_000, 30), **{"content-length": "60000"})).status == 200


class Held:
    """An upload that stops after three bytes until it may go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def _body(self) -> AsyncIterator[bytes]:
        yield BODY[:3]
        await self.go_on.wait()
        yield BODY[3:]

    async def put(self, edge: Edge, upload: Upload) -> Answer:
        """Send it."""
        return await edge.put(upload, self._body(), **{"content-length": str(len(BODY))})


async def test_uploads_at_once_are_bounded(run_edge: RunEdge) -> None:
    """One upload too many is 429 and told when to try again; when there is room again, it is taken."""
    held = Held()
    async with run_edge(edge_max_uploads=1) as edge:
        upload, other = await edge.upload(), await edge.upload(key="uploads/8/1.png")
        first = asyncio.ensure_future(held.put(edge, upload))
        await edge.part_begun()
        second = await edge.put(other)
        assert (refusal(second), second.headers["Retry-After"]) == ((429, 8, "TOO_MANY_UPLOADS"), "1")
        held.go_on.set()
        assert (await first).status == 200
        assert (await edge.put(other)).status == 200


async def test_a_users_uploads_at_once_are_bounded(run_edge: RunEdge) -> None:
    """One upload too many of a user's is 429 while another user's is taken; when there is room again, so is the first user's."""
    held = Held()
    async with run_edge(edge_max_uploads_per_user=2) as edge:
        uploads = [await edge.upload(key=f"uploads/7/{number}.png") for number in range(3)]
        sending = [asyncio.ensure_future(held.put(edge, upload)) for upload in uploads[:2]]
        await edge.part_begun(2)
        assert refusal(await edge.put(uploads[2])) == (429, 8, "TOO_MANY_UPLOADS")
        assert (await edge.put(await edge.upload(key="uploads/8/1.png"))).status == 200
        held.go_on.set()
        assert [(await each).status for each in sending] == [200, 200]
        assert (await edge.put(uploads[2])).status == 200


async def test_of_two_uploads_the_later_goes_on(run_edge: RunEdge) -> None:
    """A second upload under one key is taken at once, also when there is no more room, and ends the first, which is told so."""
    held = Held()
    async with run_edge(edge_max_uploads=1) as edge:
        upload = await edge.upload()
        first = asyncio.ensure_future(held.put(edge, upload))
        await edge.part_begun()
        assert (await edge.put(upload, BODY[::-1])).status == 200
        assert refusal(await first) == (409, 9, "UPLOAD_REPLACED")
        assert edge.files() == [UPLOAD]
        assert (edge.folder / UPLOAD).read_bytes() == BODY[::-1]


async def test_one_url_cannot_take_all_the_room(run_edge: RunEdge) -> None:
    """However many connections use one URL, and however slowly, others upload."""
    held = [Held() for _ in range(8)]
    async with run_edge(edge_max_uploads=4) as edge:
        upload = await edge.upload()
        sending = [asyncio.ensure_future(each.put(edge, upload)) for each in held]
        _, under_way = await asyncio.wait(sending, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        while len(under_way) > 1:
            _, under_way = await asyncio.wait(under_way, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert (await edge.put(await edge.upload(key="uploads/8/1.png"))).status == 200
        for each in held:
            each.go_on.set()
        assert sorted([(await each).status for each in sending]) == [200, *[409] * 7]


async def test_a_full_disk_is_told(edge: Edge) -> None:
    """When there is no room the answer is 507, nothing stays behind, and later uploads are taken."""
    upload = await edge.upload(Stored("image/png", 3_000_000))
    with no_large_files(1_000_000):
        assert refusal(await edge.put(upload, bytes(3_000_000))) == (507, 8, "STORAGE_FULL")
    assert edge.files() == []
    assert (await edge.put(upload, bytes(3_000_000))).status == 200


async def test_a_folder_that_fails_is_told(edge: Edge) -> None:
    """When the folder cannot be used, uploads are 503, and publishing and looking are unavailable; no text of the system leaves."""
    upload = await edge.upload()
    shutil.rmtree(edge.folder)
    edge.folder.write_text("not a folder")
    answer = await edge.put(upload)
    assert refusal(answer) == (503, 14, "STORAGE_FAILED")
    assert str(edge.folder).encode() not in answer.body
    for call in (edge.store.arrived(UPLOAD, PNG), edge.store.publish(Arrived(UPLOAD, PNG, "0"), KEY), edge.store.discard(KEY)):
        with pytest.raises(UnavailableError):
            await call


async def test_a_publication_is_of_one_upload(edge: Edge) -> None:
    """While uploads replace each other and publications race, each is of one upload, and what a key shows never changes."""
    upload = await edge.upload(Stored("image/png", 100_000))
    expected = Stored("image/png", 100_000)
    bodies = [bytes([number]) * 100_000 for number in range(8)]
    assert (await edge.put(upload, bodies[0])).status == 200

    async def publish() -> tuple[str, bytes] | None:
        arrived = await edge.store.arrived(UPLOAD, expected)
        key = f"media/7/12-{arrived.version}.png"
        try:
            await edge.store.publish(arrived, key)
        except UploadChangedError:
            return None
        return key, (await edge.ask("GET", f"{edge.url}/{key}")).body

    putting = [edge.put(upload, body) for body in bodies]
    answers = await asyncio.gather(*(publish() for _ in range(8)), *putting, *(publish() for _ in range(8)))
    assert {answer.status for answer in answers if isinstance(answer, Answer)} <= {200, 409}
    seen = [answer for answer in answers if isinstance(answer, tuple)]
    assert seen
    assert {body for _, body in seen} <= set(bodies)
    for key, body in seen:
        assert (await edge.ask("GET", f"{edge.url}/{key}")).body == body


async def test_publishing_looks_at_what_it_publishes(edge: Edge) -> None:
    """An upload whose file has another length than announced, however it came, is not published."""
    folder = MediaFolder(edge.folder)
    with folder.part() as part:
        part.write(BODY + b"more")
        folder.accept(part, UPLOAD)
    with pytest.raises(UploadDiffersError):
        await edge.publish()
    assert edge.files() == [UPLOAD]


async def test_what_is_never_published_is_swept(run_edge: RunEdge) -> None:
    """Parts, uploads and closed uploads older than an hour are removed; younger ones and what is published stay."""

    def age(path: Path, seconds: float) -> None:
        at = time.time() - seconds
        os.utime(path, (at, at))

    async with run_edge() as edge:
        assert (await edge.put(await edge.upload())).status == 200
        await edge.publish()
        await edge.store.discard(UPLOAD)
        for name in ("old", "young"):
            assert (await edge.put(await edge.store.presign_put(f"uploads/8/{name}.png", PNG, 60))).status == 200
        for name in ("old", "young"):
            (edge.folder / "parts" / name).write_bytes(BODY)
        for name in (KEY, f"{UPLOAD}.closed", "uploads/8/old.png", "parts/old"):
            age(edge.folder / name, UNPUBLISHED_LIFETIME_S + 10)
        for name in ("uploads/8/young.png", "parts/young"):
            age(edge.folder / name, UNPUBLISHED_LIFETIME_S - 60)
    async with run_edge() as edge:
        await eventually_files(edge, KEY, "uploads/8/young.png", "parts/young")


async def test_a_stop_waits_for_an_upload(run_edge: RunEdge) -> None:
    """An upload that is under way when the app is asked to stop is finished."""
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield BODY[:3]
        await go_on.wait()
        yield BODY[3:]

    async with aiohttp.ClientSession() as http:
        async with run_edge() as edge:
            upload = await edge.upload()
            headers = {"content-type": "image/png", "content-length": str(len(BODY))}
            sending = asyncio.ensure_future(http.put(upload.url, data=slow(), headers=headers))
            await edge.part_begun()
            asyncio.get_running_loop().call_later(0.2, go_on.set)  # when the app is being stopped
        async with asyncio.timeout(10):
            assert (await sending).status == 200
    assert edge.files() == [UPLOAD]
    with suppress(OSError):
        await asyncio.open_connection(*edge.address.split(":"))
        raise AssertionError("it still listens")


async def test_there_is_nothing_to_do_beside_a_bucket(tmp_path: Path) -> None:
    """Where media is in a bucket, the app refuses to start, and says why."""
    settings = EdgeSettings(data_dir=tmp_path, media="s3://pictures?region=eu-central-1")
    with pytest.raises(ValueError, match="file:///"):
        async with running_edge(settings):
            pass
