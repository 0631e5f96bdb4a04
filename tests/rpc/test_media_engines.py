"""The post service on each media engine, chosen by URL and nothing else."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from aiohttp import web
from feed.post.v1 import media_pb2

import post_svc.__main__ as post
from gateway.edge.settings import EdgeSettings
from meshkit.aws import open_client
from meshkit.engines import open_media
from meshkit.ministack import ACCESS_KEY, REGION, SECRET_KEY, private_ministack
from meshkit.queue.memory import MemoryQueue
from meshkit.sockets import free_port
from tests.contract.media import is_copy, proxy_to, s3_server
from tests.rpc.client import Tokens, post_settings, refused, stubs
from tests.rpc.media_calls import JPEG, PICTURE, MediaCalls
from tests.rpc.post_calls import Posts

CODE = grpc.StatusCode
ADA = 11
SECRET = b"s" * 32


def bucket_url(endpoint: str) -> str:
    """Name a bucket on a private server."""
    return f"s3://{ACCESS_KEY}:{SECRET_KEY}@pictures?region={REGION}&endpoint_url={quote(endpoint, safe='')}"


async def test_the_whole_way_on_s3(common: dict[str, object], queue: MemoryQueue, tokens: Tokens, tmp_path: Path) -> None:
    """With an S3 URL, clients upload to the bucket itself, posts carry what is completed, and anybody can read it."""
    async with (
        private_ministack(tmp_path / "s3") as endpoint,
        post.running(post_settings(common, media=bucket_url(endpoint)), queue) as address,
        stubs(address) as connected,
    ):
        media, posts = MediaCalls(connected, tokens), Posts(connected, tokens)
        created = await media.create(ADA)
        assert created.upload.url.startswith(f"{endpoint}/pictures/uploads/{ADA}/")
        with refused(CODE.FAILED_PRECONDITION, "MEDIA_NOT_UPLOADED"):
            await media.complete(ADA, created.media.media_id)
        longer = media_pb2.Upload(method="PUT", url=created.upload.url, headers={"content-type": JPEG})
        assert await media.send(longer, PICTURE + b"x") == 403
        assert await media.send(created.upload) == 200
        url = (await media.complete(ADA, created.media.media_id)).media_url
        assert url.startswith(f"{endpoint}/pictures/media/{ADA}/")
        assert await media.send(created.upload, PICTURE[::-1]) == 200
        assert (await media.complete(ADA, created.media.media_id)).media_url == url
        assert await media.read(url) == (200, JPEG, PICTURE)
        assert list((await posts.create(ADA, "look", [url])).media_urls) == [url]


async def test_posts_go_on_without_s3(common: dict[str, object], queue: MemoryQueue, tokens: Tokens) -> None:
    """When the bucket does not answer, the service starts, posts, and says that media is UNAVAILABLE."""
    nowhere = bucket_url(f"http://127.0.0.1:{free_port()}")
    async with post.running(post_settings(common, media=nowhere), queue) as address, stubs(address) as connected:
        media = MediaCalls(connected, tokens)
        assert await Posts(connected, tokens).create(ADA, "text")
        created = await media.create(ADA)
        with refused(CODE.UNAVAILABLE, "MEDIA_FAILED"):
            await media.complete(ADA, created.media.media_id)
        assert (await media.get(ADA, created.media.media_id)).state == media_pb2.MEDIA_STATE_UPLOADING


async def test_what_is_published_never_changes_on_s3(
    common: dict[str, object], queue: MemoryQueue, tokens: Tokens, tmp_path: Path
) -> None:
    """A completion that another overtakes changes nothing, also when the upload it saw is there again, and leaves nothing."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold_first_copy(request: web.Request) -> web.Response | None:
        if is_copy(request) and not begun.is_set():
            begun.set()
            await go_on.wait()
        return None

    async with (
        s3_server(tmp_path / "s3") as access,
        proxy_to(access) as proxy,
        post.running(post_settings(common, media=bucket_url(str(proxy.access.endpoint_url))), queue) as address,
        stubs(address) as connected,
    ):
        media = MediaCalls(connected, tokens)
        created = await media.create(ADA)
        assert await media.send(created.upload) == 200
        proxy.fault = hold_first_copy
        overtaken = asyncio.ensure_future(media.complete(ADA, created.media.media_id))
        await begun.wait()
        assert await media.send(created.upload, PICTURE[::-1]) == 200
        first = await media.complete(ADA, created.media.media_id)
        assert await media.send(created.upload) == 200
        go_on.set()
        assert await overtaken == first
        assert proxy.copies == 2
        assert await media.read(first.media_url) == (200, JPEG, PICTURE[::-1])
        async with open_client("s3", access, read_timeout=5, connections=1, s3={"addressing_style": "path"}) as s3:
            found = (await s3.list_objects_v2(Bucket="pictures", Prefix="media/"))["Contents"]
        assert [f"{proxy.access.endpoint_url}/pictures/{file['Key']}" for file in found] == [first.media_url]


@pytest.mark.parametrize(
    "wrong",
    [
        "file://",
        "file:///",
        "file://media",
        "file:///a?b=c",
        "file:///a#b",
        "media",
        "/media",
        "",
        "http://hunter2@a/b",
        "s3://KEY:hunter2@",
        "s3://KEY:hunter2@pictures",
        "s3://KEY:hunter2@pictures?region=eu-central-1&what=else",
    ],
)
def test_other_urls_are_refused(wrong: str) -> None:
    """A URL that names no store is refused at the start, without repeating what may be a secret."""
    with pytest.raises(ValueError, match=r"file:///absolute/path|s3://\[KEY") as refusal:
        open_media(wrong, public_url="https://cdn.example", secret=SECRET)
    assert "hunter2" not in str(refusal.value)


def test_where_media_is_by_default(tmp_path: Path) -> None:
    """Without settings, media is in the data folder, whatever that is called, and the key is shared with the edge app."""
    folder = tmp_path / "a#b ?c=%25 d"
    settings, edge = post_settings({"data_dir": folder}), EdgeSettings(data_dir=folder)
    assert settings.media_url == edge.media_url == f"file://{quote(str(folder / 'media'))}"
    assert settings.media_secret() == edge.media_secret()
    assert (folder / "keys" / "media.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("wrong", ["cdn.example", "ftp://a", "https://a/", "https://a?b", "https://a#b", "https://a b", "https://"])
def test_a_public_url_is_a_plain_beginning(wrong: str) -> None:
    """What media URLs begin with has a scheme and a host, and neither a slash at the end nor a query."""
    with pytest.raises(ValueError, match="media_public_url"):
        EdgeSettings(media_public_url=wrong)
    assert EdgeSettings(media_public_url="https://cdn.example/a").media_public_url


def test_secrets_are_not_shown() -> None:
    """The settings' text shows neither the key nor a bucket's credentials."""
    settings = EdgeSettings(media="s3://KEY:hunter2@pictures?region=eu-central-1", media_key="hunter2-" * 5)
    assert "hunter2" not in f"{settings} {settings!r}"
