"""Posts carry only their author's own finished uploads, over gRPC."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import grpc
import msgspec
import pytest

import post_svc.__main__ as post
from meshkit.queue.memory import MemoryQueue
from tests.rpc.client import Failure, Tokens, outcome, post_settings, refused, stubs
from tests.rpc.media_calls import MP4, PICTURE, MediaCalls
from tests.rpc.post_calls import Post, Posts

CODE = grpc.StatusCode
ADA, BOB = 11, 12
Wrong = Callable[[MediaCalls], Awaitable[str]]


async def someone_elses(media: MediaCalls) -> str:
    """Give another's finished upload."""
    return await media.ready(BOB)


async def not_taken_yet(media: MediaCalls) -> str:
    """Give an upload's own URL."""
    return (await media.create(ADA)).upload.url


def altered(change: Callable[[str], str]) -> Wrong:
    """Give a finished upload's URL, changed."""

    async def make(media: MediaCalls) -> str:
        return change(await media.ready(ADA))

    return make


WRONG: dict[str, Wrong] = {
    "someone else's": someone_elses,
    "an upload URL": not_taken_yet,
    "elsewhere": altered(lambda _url: "https://example.org/a.jpg"),
    "another host": altered(lambda url: url.replace("127.0.0.1", "localhost")),
    "another scheme": altered(lambda url: url.replace("http:", "https:")),
    "another case": altered(lambda url: url.replace("/media/", "/Media/")),
    "a query": altered(lambda url: url + "?a=b"),
    "a fragment": altered(lambda url: url + "#a"),
    "another secret": altered(lambda url: url[:-5] + ("0" if url[-5] != "0" else "1") + url[-4:]),
    "no secret": altered(lambda url: url.partition("-")[0] + ".jpg"),
    "another type": altered(lambda url: url.replace(".jpg", ".png")),
    "a detour": altered(lambda url: url.replace("/media/", "/media/../media/")),
    "an id too large": altered(lambda url: url.replace(url.rpartition("/")[2].partition("-")[0], "9" * 20)),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_posts_take_only_ones_own_finished_uploads(posts: Posts, media: MediaCalls, wrong: str) -> None:
    """What is not exactly the URL of the author's own READY upload is refused in the same words, and nothing is changed."""
    good, bad = await media.ready(ADA), await WRONG[wrong](media)
    made = await posts.create(ADA, "text", [good])
    created, edited = (
        await outcome(posts.create(ADA, "text", [good, bad])),
        await outcome(posts.update(ADA, Post(post_id=made.post_id, media_urls=[bad]), "media_urls")),
    )
    assert isinstance(created, Failure)
    assert isinstance(edited, Failure)
    assert (created.code, created.reason, created.fields) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD", ("media_urls",))
    assert (edited.code, edited.reason, edited.fields) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD", ("post.media_urls",))
    assert created.text.startswith("media_urls element 1 is not the media_url of a finished upload of yours: ")
    assert edited.text.startswith("post.media_urls element 0 is not the media_url of a finished upload of yours: ")
    assert await posts.entries(ADA) == [(ADA, [made.post_id])]
    assert await posts.get(made.post_id) == made


async def test_an_upload_that_is_not_completed_is_not_taken(common: dict[str, object], posts: Posts, media: MediaCalls) -> None:
    """The URL that an upload will have, which nobody knows yet, is refused until its row says that it is READY."""
    created = await media.create(ADA)
    assert await media.send(created.upload) == 200
    done = await media.complete(ADA, created.media.media_id)
    file = Path(str(common["data_dir"])) / "posts.db"
    _set_ready(file, created.media.media_id, ready=False)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "media_urls"):
        await posts.create(ADA, "text", [done.media_url])
    _set_ready(file, created.media.media_id, ready=True)
    assert list((await posts.create(ADA, "text", [done.media_url])).media_urls) == [done.media_url]


async def test_ten_pictures_or_one_video(posts: Posts, media: MediaCalls) -> None:
    """Up to ten pictures go together, and a video stands alone; no upload is named twice."""
    pictures = [await media.ready(ADA) for _ in range(10)]
    video, other = await media.ready(ADA, MP4), await media.ready(ADA, MP4)
    for urls in (pictures, pictures[::-1], [video], []):
        assert list((await posts.create(ADA, "text", urls)).media_urls) == urls
    for urls in (
        [*pictures, pictures[0]],
        [video, pictures[0]],
        [pictures[0], video],
        [video, other],
        [pictures[0], pictures[1], pictures[0]],
    ):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "media_urls"):
            await posts.create(ADA, "text", urls)


async def test_one_upload_may_be_in_many_posts(posts: Posts, media: MediaCalls) -> None:
    """An upload can be shown again, and outlives the deletion of a post that shows it."""
    url = await media.ready(ADA)
    first, second = await posts.create(ADA, "one", [url]), await posts.create(ADA, "two", [url])
    await posts.delete(ADA, first.post_id)
    assert list((await posts.get(second.post_id)).media_urls) == [url]
    assert (await media.read(url))[2] == PICTURE


async def test_an_edit_that_keeps_the_media_is_no_question(
    common: dict[str, object], queue: MemoryQueue, tokens: Tokens, media_url: str
) -> None:
    """Media that a post carries may stay as it is, whatever became of the uploads; new media is checked."""
    async with (
        post.running(post_settings(common, media_public_url=media_url), queue) as address,
        stubs(address) as connected,
    ):
        posts, media = Posts(connected, tokens), MediaCalls(connected, tokens)
        urls = [await media.ready(ADA), await media.ready(ADA)]
        made = await posts.create(ADA, "old", urls)
        _forget_media(Path(str(common["data_dir"])) / "posts.db")
        for paths in (("*",), ("content", "media_urls"), ()):
            edited = await posts.update(ADA, Post(post_id=made.post_id, content="new", media_urls=urls), *paths)
            assert list(edited.media_urls) == urls
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post.media_urls"):
            await posts.update(ADA, Post(post_id=made.post_id, media_urls=urls[:1]), "media_urls")


async def test_a_repeated_post_is_answered_whatever_became_of_its_media(
    common: dict[str, object], posts: Posts, media: MediaCalls
) -> None:
    """A repeat of a request gives the post that it made, also at once; only a new request is checked."""
    url = await media.ready(ADA)
    answers = await asyncio.gather(*(posts.create(ADA, "text", [url], request_id="r-1") for _ in range(20)))
    _forget_media(Path(str(common["data_dir"])) / "posts.db")
    answers.append(await posts.create(ADA, "text", [url], request_id="r-1"))
    assert all(answer == answers[0] for answer in answers)
    assert list(answers[0].media_urls) == [url]
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "media_urls"):
        await posts.create(ADA, "text", [url], request_id="r-2")


async def test_the_public_url_may_change(common: dict[str, object], queue: MemoryQueue, tokens: Tokens, media_url: str) -> None:
    """Posts show their media under the public URL of today, and take it so."""
    async with (
        post.running(post_settings(common, media_public_url=media_url), queue) as address,
        stubs(address) as connected,
    ):
        url = await MediaCalls(connected, tokens).ready(ADA)
        made = await Posts(connected, tokens).create(ADA, "text", [url], request_id="r-1")
    async with (
        post.running(post_settings(common, media_public_url="https://cdn.example/a"), queue) as address,
        stubs(address) as connected,
    ):
        posts, moved = Posts(connected, tokens), url.replace(media_url, "https://cdn.example/a")
        for found in (await posts.get(made.post_id, ADA), *await posts.lookup(made.post_id)):
            assert list(found.media_urls) == [moved]
        assert list((await posts.create(ADA, "text", [url], request_id="r-1")).media_urls) == [moved]
        assert list((await posts.create(ADA, "text", [moved])).media_urls) == [moved]
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "media_urls"):
            await posts.create(ADA, "text", [url])


async def test_posts_with_whole_urls_are_still_read(common: dict[str, object], posts: Posts) -> None:
    """A post of the time before uploads, which holds whole URLs, is shown with them, and can be edited."""
    made = await posts.create(ADA, "old")
    url = "https://example.org/a.png?b#c"
    _store_urls(Path(str(common["data_dir"])) / "posts.db", made.post_id, [url])
    assert list((await posts.get(made.post_id)).media_urls) == [url]
    edited = await posts.update(ADA, Post(post_id=made.post_id, content="new", media_urls=[url]), "*")
    assert (edited.content, list(edited.media_urls)) == ("new", [url])


def _set_ready(file: Path, media_id: int, *, ready: bool) -> None:
    """Change whether media is READY, from outside of the service."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        (value,) = other.execute("SELECT value FROM items WHERE sort = ?", (media_id.to_bytes(8),)).fetchone()
        row = [*msgspec.msgpack.decode(value)[:3], ready]
        changed = other.execute("UPDATE items SET value = ? WHERE sort = ?", (msgspec.msgpack.encode(row), media_id.to_bytes(8)))
        assert changed.rowcount == 1


def _forget_media(file: Path) -> None:
    """Remove every row of media, from outside of the service."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        assert other.execute("DELETE FROM items WHERE substr(partition, 1, 6) = x'6d656469612f'").rowcount > 0


def _store_urls(file: Path, post_id: int, urls: list[str]) -> None:
    """Put whole URLs into a post's row, from outside of the service."""
    where = "WHERE partition = ?"
    key = b"post/" + post_id.to_bytes(8)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        (value,) = other.execute(f"SELECT value FROM items {where}", (key,)).fetchone()  # noqa: S608
        row = msgspec.msgpack.decode(value)
        row[2] = urls
        assert other.execute(f"UPDATE items SET value = ? {where}", (msgspec.msgpack.encode(row), key)).rowcount == 1  # noqa: S608
