"""Serving what is published: to caches and players as they want it, to browsers so that nothing in it runs."""

import pytest
from yarl import URL

from tests.edge.conftest import BODY, KEY, Edge


@pytest.fixture
async def url(edge: Edge) -> str:
    """Publish a picture, and give its URL."""
    assert (await edge.put(await edge.upload())).status == 200
    await edge.publish()
    return f"{edge.url}/{KEY}"


async def test_a_file_is_served_for_good_and_harmless(edge: Edge, url: str) -> None:
    """The answer has the announced type and length, may be cached for ever, and no browser guesses its type or runs it."""
    answer = await edge.ask("GET", url)
    assert (answer.status, answer.body) == (200, BODY)
    wanted = {
        "Content-Type": "image/png",
        "Content-Length": str(len(BODY)),
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Accept-Ranges": "bytes",
    }
    assert wanted.items() <= answer.headers.items()


async def test_head_is_get_without_its_body(edge: Edge, url: str) -> None:
    """HEAD gives the same headers."""
    whole, head = await edge.ask("GET", url), await edge.ask("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    assert {name: text for name, text in head.headers.items() if name != "Date"}.items() <= whole.headers.items()
    assert head.headers["Content-Length"] == str(len(BODY))


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"), [("bytes=2-5", 206, 2, 5), ("bytes=-3", 206, len(BODY) - 3, len(BODY) - 1)]
)
async def test_a_part_is_served(edge: Edge, url: str, asked: str, status: int, first: int, last: int) -> None:
    """A range is answered with just these bytes, as players ask for them."""
    answer = await edge.ask("GET", url, headers={"range": asked})
    assert (answer.status, answer.body) == (status, BODY[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(BODY)}"
    assert answer.headers["Content-Type"] == "image/png"


async def test_a_range_outside_is_refused(edge: Edge, url: str) -> None:
    """A range past the end is 416 with the length."""
    answer = await edge.ask("GET", url, headers={"range": "bytes=1000-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(BODY)}")


async def test_what_a_cache_has_is_not_sent_again(edge: Edge, url: str) -> None:
    """A validator that still holds is answered 304."""
    tag = (await edge.ask("GET", url)).headers["Etag"]
    answer = await edge.ask("GET", url, headers={"if-none-match": tag})
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/media/7/12-other.png",
        "/media/8/12-0a1b2c.png",
        "/media/7/12-0a1b2c.jpg",
        "/media/7/12-0a1b2c.png.closed",
        "/media/7",
        "/media/7/",
        "/media/",
        "/media/uploads/7/12.png.closed",
        "/media/../keys/media.key",
        "/media/7/..%2f..%2f..%2fkeys%2fmedia.key",
        "/media/%2e%2e/%2e%2e/keys/media.key",
        "/media/%2e%2e%2fkeys/media.key",
        "/media/..%5c..%5ckeys/media.key",
        "//media/7/12-0a1b2c.png",
        "/media//7/12-0a1b2c.png",
        "/media/7/12-0a1b2c.png/",
        "/media/7/12-0a1b2c.png%00.png",
        "/media/7/%0a.png",
        "/keys/media.key",
        "/",
    ],
)
async def test_nothing_else_is_served(edge: Edge, url: str, path: str) -> None:
    """Whatever is not exactly a published key is not found, however its path is written."""
    assert (await edge.ask("GET", url)).status == 200
    async with edge.http.get(URL(edge.url + path, encoded=True)) as answer:
        assert answer.status in {404, 405}
        assert (await answer.json())["code"] in {5, 12}
