"""What every media engine has to do, with uploads through real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from meshkit.media.port import (
    Arrived,
    MediaStore,
    NotUploadedError,
    Stored,
    Upload,
    UploadChangedError,
    UploadDiffersError,
    type_of,
)
from meshkit.media.types import MEDIA_TYPES
from tests.contract.media import MEDIA, NOT_CHECKED_BY_MINISTACK, Client, OpenMedia, tampered

BODY = b"\xff\xd8\xff picture"
JPEG = Stored("image/jpeg", len(BODY))
UPLOAD, KEY = "uploads/7/12.jpg", "media/7/12-0a1b2c.jpg"
REFUSED = range(400, 500)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=MEDIA)
async def opener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenMedia]:
    """Start a media engine, once for all tests."""
    async with MEDIA[request.param](tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture
async def store(opener: OpenMedia, tmp_path: Path) -> AsyncIterator[MediaStore]:
    """Give an open, empty store."""
    async with opener(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Give an HTTP client."""
    async with aiohttp.ClientSession() as http:
        yield Client(http)


async def publish(store: MediaStore) -> None:
    """Publish what has arrived."""
    await store.publish(await store.arrived(UPLOAD, JPEG), KEY)


async def nothing_arrived(store: MediaStore, *uploads: str) -> bool:
    """Tell whether nothing has arrived under any of the keys; checks each."""
    for upload in uploads:
        with pytest.raises(NotUploadedError):
            await store.arrived(upload, replace(JPEG, content_type=type_of(upload).content_type))
    return bool(uploads)


async def is_published(store: MediaStore, client: Client) -> bool:
    """Tell whether anybody can read it."""
    return (await client.read(f"{store.public_url}/{KEY}"))[0] == 200


async def test_what_is_uploaded_is_published_as_it_is(store: MediaStore, client: Client) -> None:
    """An upload with exactly the headers that were asked for is published byte by byte, with its type, for anybody."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert dict(upload.headers) == {"content-type": "image/jpeg", "content-length": str(len(BODY))}
    assert await client.send("PUT", upload.url, BODY, dict(upload.headers)) == 200
    arrived = await store.arrived(UPLOAD, JPEG)
    assert (arrived.upload, arrived.stored) == (UPLOAD, JPEG)
    await store.publish(arrived, KEY)
    assert await client.read(f"{store.public_url}/{KEY}") == (200, "image/jpeg", BODY)
    assert await store.arrived(UPLOAD, JPEG) == arrived


async def test_what_is_discarded_is_gone(store: MediaStore, client: Client) -> None:
    """A discarded upload has never arrived, and what was published of it stays until it is discarded too; twice is no error."""
    assert await client.put(await store.presign_put(UPLOAD, JPEG, 60), BODY) == 200
    arrived = await store.arrived(UPLOAD, JPEG)
    await store.publish(arrived, KEY)
    for _ in range(2):
        await store.discard(UPLOAD)
        assert await nothing_arrived(store, UPLOAD)
        assert await is_published(store, client)
    await store.publish(arrived, KEY)
    for _ in range(2):
        await store.discard(KEY)
        assert not await is_published(store, client)
    with pytest.raises(UploadChangedError):
        await store.publish(arrived, KEY)


async def test_every_type_is_taken(store: MediaStore, client: Client) -> None:
    """All types of the list go the whole way, and keep their type."""
    for media_type in MEDIA_TYPES:
        upload, key = f"uploads/7/1.{media_type.extension}", f"media/7/1-a.{media_type.extension}"
        expected = Stored(media_type.content_type, len(BODY))
        assert await client.put(await store.presign_put(upload, expected, 60), BODY) == 200
        await store.publish(await store.arrived(upload, expected), key)
        assert await client.read(f"{store.public_url}/{key}") == (200, media_type.content_type, BODY)


async def test_nothing_is_read_before_it_is_published(store: MediaStore, client: Client) -> None:
    """An upload cannot be read, neither where it waits nor where it will be."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(upload, BODY) == 200
    for url in (upload.url, upload.url.partition("?")[0], f"{store.public_url}/{UPLOAD}", f"{store.public_url}/{KEY}"):
        status, _, body = await client.read(url)
        assert status in REFUSED
        assert BODY not in body


@pytest.mark.parametrize("content_type", ["text/html", "image/png", "image/svg+xml", "IMAGE/JPEG", "image/jpeg; charset=utf-8", ""])
async def test_another_type_is_refused(store: MediaStore, client: Client, content_type: str) -> None:
    """The type is pinned: no other, and not none, is taken."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(upload, BODY, content_type=content_type) in REFUSED
    assert await nothing_arrived(store, UPLOAD)
    assert await client.put(upload, BODY) == 200


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b"x", BODY * 1_000], ids=["empty", "shorter", "longer", "much longer"])
async def test_another_length_is_refused(store: MediaStore, client: Client, body: bytes) -> None:
    """The length is pinned to the byte."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(upload, body) in REFUSED
    assert await nothing_arrived(store, UPLOAD)
    assert await client.put(upload, BODY) == 200


async def test_a_body_without_a_length_is_refused(store: MediaStore, client: Client) -> None:
    """A body that comes in chunks, whose length nobody says, is not taken."""

    async def chunks() -> AsyncIterator[bytes]:
        yield BODY

    upload = await store.presign_put(UPLOAD, JPEG, 60)
    async with client.http.put(upload.url, data=chunks(), headers={"content-type": "image/jpeg"}) as answer:
        assert answer.status in REFUSED
    assert await nothing_arrived(store, UPLOAD)


@pytest.mark.parametrize("other", ["uploads/7/13.jpg", "uploads/8/12.jpg", KEY, "uploads/7/12.png", "uploads/7/../8/12.jpg"])
async def test_another_key_is_refused(store: MediaStore, client: Client, other: str) -> None:
    """A URL is good for its own key only, and never for a published one."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(Upload(upload.url.replace(UPLOAD, other), upload.headers), BODY) in REFUSED
    assert await nothing_arrived(store, "uploads/7/13.jpg", "uploads/8/12.jpg", "uploads/7/12.png", UPLOAD)
    assert not await is_published(store, client)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
async def test_another_method_is_refused(store: MediaStore, client: Client, method: str) -> None:
    """A URL is good for a PUT only."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(upload, BODY) == 200
    assert await client.send(method, upload.url, BODY, dict(upload.headers)) in REFUSED
    assert (await store.arrived(UPLOAD, JPEG)).stored == JPEG


async def test_no_part_of_a_url_can_be_changed(store: MediaStore, client: Client) -> None:
    """Each query parameter changed, made longer or shorter, emptied or left out is refused, and so is a URL without any."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    found = [name for name, url in tampered(upload.url) if await client.put(Upload(url, upload.headers), BODY) not in REFUSED]
    assert set(found) <= NOT_CHECKED_BY_MINISTACK
    if not found:
        assert await nothing_arrived(store, UPLOAD)
    assert await client.put(upload, BODY) == 200


async def test_a_url_is_good_for_its_time_only(store: MediaStore, client: Client) -> None:
    """After its seconds a URL is refused, and one made then is not."""
    upload = await store.presign_put(UPLOAD, JPEG, 1)
    async with asyncio.timeout(10):
        while (status := await client.put(upload, BODY)) == 200:
            pass
    assert status == 403
    assert await client.put(await store.presign_put(UPLOAD, JPEG, 60), BODY) == 200


async def test_an_upload_can_be_sent_again(store: MediaStore, client: Client) -> None:
    """Until it is published the last upload counts, and it is whole."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    other = BODY[::-1]
    assert await client.put(upload, BODY) == 200
    assert await client.put(upload, other) == 200
    await publish(store)
    assert (await client.read(f"{store.public_url}/{KEY}"))[2] == other


async def test_what_is_published_never_changes(store: MediaStore, client: Client) -> None:
    """A URL that still works, and publishing again, do not touch what is published."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(upload, BODY) == 200
    arrived = await store.arrived(UPLOAD, JPEG)
    await store.publish(arrived, KEY)
    assert await client.put(upload, BODY[::-1]) == 200
    await store.publish(arrived, KEY)
    assert await client.read(f"{store.public_url}/{KEY}") == (200, "image/jpeg", BODY)


async def test_what_has_arrived_is_one_version(store: MediaStore, client: Client) -> None:
    """An upload that replaces another has another version, and the earlier one, which is gone, is not published as what it was."""
    upload = await store.presign_put(UPLOAD, JPEG, 60)
    assert await client.put(upload, BODY) == 200
    first = await store.arrived(UPLOAD, JPEG)
    assert await store.arrived(UPLOAD, JPEG) == first
    assert await client.put(upload, BODY[::-1]) == 200
    second = await store.arrived(UPLOAD, JPEG)
    assert second.version != first.version
    with pytest.raises(UploadChangedError):
        await store.publish(first, KEY)
    assert not await is_published(store, client)
    await store.publish(second, KEY)
    assert (await client.read(f"{store.public_url}/{KEY}"))[2] == BODY[::-1]


async def test_publishing_many_times_at_once_is_publishing_once(store: MediaStore, client: Client) -> None:
    """Of publications at the same time none fails, and the file is there."""
    assert await client.put(await store.presign_put(UPLOAD, JPEG, 60), BODY) == 200
    await asyncio.gather(*(publish(store) for _ in range(8)))
    await publish(store)
    assert await client.read(f"{store.public_url}/{KEY}") == (200, "image/jpeg", BODY)


async def test_what_is_not_uploaded_is_not_published(store: MediaStore, client: Client) -> None:
    """Without an upload there is nothing to publish."""
    assert await nothing_arrived(store, UPLOAD)
    with pytest.raises(UploadChangedError):
        await store.publish(Arrived(UPLOAD, JPEG, "0"), KEY)
    assert not await is_published(store, client)


async def test_what_differs_has_not_arrived(store: MediaStore, client: Client) -> None:
    """An upload of another length than expected is told, and kept."""
    assert await client.put(await store.presign_put(UPLOAD, JPEG, 60), BODY) == 200
    with pytest.raises(UploadDiffersError) as differs:
        await store.arrived(UPLOAD, Stored("image/jpeg", len(BODY) + 1))
    assert differs.value.found == JPEG
    assert (await store.arrived(UPLOAD, JPEG)).stored == JPEG


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "uploads/12.jpg",
        "uploads/7/12",
        "uploads/7/12.svg",
        "uploads/7/12.html",
        "uploads/../12.jpg",
        "uploads/7/../../x.jpg",
        "uploads/7//12.jpg",
        "/uploads/7/12.jpg",
        "uploads/7/12.jpg/",
        "uploads/7/12.jpg\n",
        "uploads/7/a b.jpg",
        "uploads/7/%2e.jpg",
        "other/7/12.jpg",
        "uploads/7/\u0661.jpg",
    ],
)
async def test_keys_have_one_form(store: MediaStore, wrong: str) -> None:
    """What is no key, or could lead somewhere else, is a mistake of ours, and never reaches the engine."""
    arrived = Arrived(UPLOAD, JPEG, "0")
    for call in (
        store.presign_put(wrong, JPEG, 60),
        store.arrived(wrong, JPEG),
        store.publish(arrived, wrong),
        store.discard(wrong),
    ):
        with pytest.raises(ValueError, match=r"key|published"):
            await call


async def test_uploads_are_signed_within_limits(store: MediaStore) -> None:
    """Another type than the key's, no or too many bytes, no or too many seconds, and published keys are refused."""
    for key, expected, seconds in (
        (UPLOAD, Stored("image/png", 1), 60),
        (UPLOAD, Stored("image/jpeg", 0), 60),
        (UPLOAD, Stored("image/jpeg", 20 * 2**20 + 1), 60),
        ("uploads/7/12.mp4", Stored("video/mp4", 512 * 2**20 + 1), 60),
        (UPLOAD, JPEG, 0),
        (UPLOAD, JPEG, 301),
        (KEY, JPEG, 60),
    ):
        with pytest.raises(ValueError, match=r"key|bytes|seconds"):
            await store.presign_put(key, expected, seconds)
    for upload, expected in ((KEY, JPEG), (UPLOAD, Stored("image/png", 1))):
        with pytest.raises(ValueError, match="key"):
            await store.arrived(upload, expected)
    for key in (UPLOAD, "media/7/12-a.png"):
        with pytest.raises(ValueError, match="published"):
            await store.publish(Arrived(UPLOAD, JPEG, "0"), key)
    assert await store.presign_put("uploads/7/12.mp4", Stored("video/mp4", 512 * 2**20), 300)
