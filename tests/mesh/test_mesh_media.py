"""From a picture on somebody's device to a post that others see, through the gateway."""

from typing import Any

import aiohttp
import pytest

from tests.mesh.conftest import People, Someone, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2_000


async def upload(author: Someone, session: aiohttp.ClientSession, body: bytes = PICTURE) -> tuple[int, dict[str, Any]]:
    """Announce a picture, and send a body as told; give the upload's status, and the media."""
    created = await author.post("/v1/media", {"content_type": "image/png", "size_bytes": len(PICTURE)})
    assert created.status == 200, created
    told = created.body["upload"]
    headers = {"content-type": told["headers"]["content-type"]}
    async with session.request(told["method"], told["url"], data=body, headers=headers) as answer:
        return answer.status, created.body["media"]


async def test_a_picture_gets_into_a_followers_feed(someone: People, session: aiohttp.ClientSession) -> None:
    """Uploaded without a token, completed and posted, a picture is in a follower's feed under a URL that anybody can read."""
    author, follower = await someone(), await someone()
    await follower.follow(author)
    status, media = await upload(author, session)
    assert (status, media["state"]) == (200, "MEDIA_STATE_UPLOADING")
    done = await author.post(f"/v1/media/{media['media_id']}:complete", {})
    assert (done.status, done.body["state"]) == (200, "MEDIA_STATE_READY")
    url = done.body["media_url"]
    posted = await author.post("/v1/posts", {"content": "look", "media_urls": [url]})
    assert (posted.status, posted.body["media_urls"]) == (200, [url])

    async def seen() -> bool:
        items = (await follower.get("/v1/feed")).body["items"]
        return [item["post"]["media_urls"] for item in items] == [[url]]

    await eventually(seen)
    async with session.get(url) as answer:
        assert (answer.status, answer.headers["content-type"], await answer.read()) == (200, "image/png", PICTURE)
    async with session.get(url, headers={"range": "bytes=0-7"}) as answer:
        assert (answer.status, await answer.read()) == (206, PICTURE[:8])


async def test_what_is_not_ones_own_finished_upload_is_refused(someone: People, session: aiohttp.ClientSession) -> None:
    """An upload of another length, completing what did not arrive, and posting another's picture are refused, and say why."""
    author, other = await someone(), await someone()
    status, media = await upload(author, session, PICTURE + b"x")
    assert status == 403
    early = await author.post(f"/v1/media/{media['media_id']}:complete", {})
    assert early.refusal() == (400, 9)
    _, media = await upload(author, session)
    assert (await other.post(f"/v1/media/{media['media_id']}:complete", {})).refusal() == (404, 5)
    assert (await other.get(f"/v1/media/{media['media_id']}")).refusal() == (404, 5)
    url = (await author.post(f"/v1/media/{media['media_id']}:complete", {})).body["media_url"]
    for wrong in (url, "https://example.org/a.png"):
        refused = await other.post("/v1/posts", {"content": "mine", "media_urls": [wrong]})
        assert refused.refusal() == (400, 3)
        assert refused.body["message"].startswith("media_urls element 0 is not ")
