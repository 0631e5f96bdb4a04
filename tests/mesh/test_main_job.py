"""The main job, through the gateway: post, follow, read your feed."""

import asyncio
from collections.abc import Awaitable

import pytest
from redis.asyncio import Redis

from cli.parts import Mesh
from tests.mesh.conftest import People, Someone, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMISED_SECONDS = 2.0


async def test_a_post_reaches_a_follower_within_two_seconds(someone: People) -> None:
    """An acknowledged post is in the feed of somebody who follows its author, whose timeline exists, within two seconds."""
    author, follower = await someone(), await someone()
    assert await follower.feed() == []
    await follower.follow(author)
    post_id = await author.publish("hello")

    async def arrived() -> bool:
        return await follower.feed() == [post_id]

    await eventually(arrived, PROMISED_SECONDS)


async def test_ones_own_posts_are_in_ones_feed(someone: People) -> None:
    """An author's feed shows the author's own posts."""
    author = await someone()
    assert await author.feed() == []
    post_id = await author.publish("to myself")

    async def arrived() -> bool:
        return await author.feed() == [post_id]

    await eventually(arrived, PROMISED_SECONDS)


async def test_a_first_read_after_the_posts_rebuilds_the_feed(someone: People) -> None:
    """Somebody who reads for the first time gets everything that followees have posted."""
    author, follower = await someone(), await someone()
    await follower.follow(author)
    ids = [await author.publish(f"number {number}") for number in range(5)]
    assert await follower.feed() == ids[::-1]


async def test_following_brings_what_was_posted_before(someone: People) -> None:
    """After a follow, the followee's earlier posts appear in a feed that exists already."""
    author, follower = await someone(), await someone()
    assert await follower.feed() == []
    ids = [await author.publish(f"before {number}") for number in range(3)]
    await follower.follow(author)

    async def arrived() -> bool:
        return await follower.feed() == ids[::-1]

    await eventually(arrived, PROMISED_SECONDS)


async def test_unfollowing_takes_the_posts_away_and_following_again_brings_them_back(someone: People) -> None:
    """A former followee's posts leave the feed within a second, new ones stay out, and all come back with a new follow."""
    author, follower = await someone(), await someone()
    await follower.feed()
    await follower.follow(author)
    first = await author.publish("first")
    await eventually(lambda: _is(follower.feed(), [first]))
    assert (await follower.rest.call("DELETE", f"/v1/follows/{author.user_id}")).status == 200
    await eventually(lambda: _is(follower.feed(), []), seconds=1.0)
    second = await author.publish("second")
    await eventually(lambda: _is(author.feed(), [second, first]))
    assert await follower.feed() == []
    await follower.follow(author)
    await eventually(lambda: _is(follower.feed(), [second, first]))


async def test_a_deleted_post_leaves_every_read_path(someone: People) -> None:
    """Within a second after a deletion no feed, page or id shows the post, and deleting again is not an error."""
    author, follower = await someone(), await someone()
    await follower.follow(author)
    kept, gone = await author.publish("kept"), await author.publish("gone")
    await eventually(lambda: _is(follower.feed(), [gone, kept]))
    for _ in range(2):
        assert (await author.rest.call("DELETE", f"/v1/posts/{gone}")).status == 200
    await eventually(lambda: _is(follower.feed(), [kept]), seconds=1.0)
    assert (await follower.get(f"/v1/posts/{gone}")).refusal() == (404, 5)
    page = await follower.get(f"/v1/users/{author.user_id}/posts")
    assert [post["post_id"] for post in page.body["posts"]] == [kept]


async def test_an_edit_is_seen_in_feeds(someone: People) -> None:
    """Within a second after an edit, feeds show the new text and version."""
    author = await someone()
    post_id = await author.publish("old")
    await eventually(lambda: _is(author.feed(), [post_id]))
    edited = await author.rest.call("PATCH", f"/v1/posts/{post_id}", {"content": "new"})
    assert (edited.status, edited.body["content"], edited.body["version"]) == (200, "new", 2)

    async def shown() -> bool:
        post = (await author.get("/v1/feed")).body["items"][0]["post"]
        return bool(post["content"] == "new" and post["version"] == 2)

    await eventually(shown, seconds=1.0)


async def test_paging_shows_everything_once_while_posts_arrive(someone: People) -> None:
    """Paging to the end shows each post that was there at the start once, newest first, whatever is posted meanwhile."""
    reader, *authors = [await someone() for _ in range(4)]
    for author in authors:
        await reader.follow(author)
    ids = [await authors[number % 3].publish(f"post {number}") for number in range(45)]
    await eventually(lambda: _is(reader.feed("?page_size=100"), ids[::-1]))

    async with asyncio.TaskGroup() as group:
        walk = group.create_task(reader.whole_feed(page_size=7))
        for number in range(10):
            group.create_task(authors[0].publish(f"meanwhile {number}"))
    seen = walk.result()
    assert [post_id for post_id in seen if post_id in set(ids)] == ids[::-1]
    assert sorted(seen, key=int, reverse=True) == seen
    assert len(set(seen)) == len(seen)


async def test_lost_timelines_are_rebuilt(mesh: Mesh, someone: People) -> None:
    """After Valkey lost everything, feeds are as they were."""
    author, follower = await someone(), await someone()
    await follower.follow(author)
    ids = [await author.publish(f"{number}") for number in range(3)]
    await eventually(lambda: _is(follower.feed(), ids[::-1]))
    async with Redis.from_url(mesh.services.redis_url) as redis:
        await redis.flushall()
    assert await follower.feed() == ids[::-1]


async def test_request_ids_make_retries_safe(someone: People) -> None:
    """The same request twice makes one post; the same id with another text is refused."""
    author = await someone()
    body = {"content": "once", "request_id": "retry-1"}
    first, second = await author.post("/v1/posts", body), await author.post("/v1/posts", body)
    assert first.body == second.body
    assert (await author.post("/v1/posts", body | {"content": "other"})).refusal() == (409, 6)
    await eventually(lambda: _is(author.feed(), [first.body["post_id"]]))


async def test_the_other_names_of_routes_work(someone: People) -> None:
    """The routes of the well-known design notes do the same as ours."""
    author, follower = await someone(), await someone()
    followed = await follower.post("/follow", {"followee_id": author.user_id, "follower_id": follower.user_id})
    assert followed.status == 200
    assert (await follower.post("/friends/create", {"followee_id": author.user_id})).body == followed.body
    first = (await author.post("/posts", {"content": "one", "user_id": author.user_id})).body["post_id"]
    second = (await author.post("/posts/create", {"content": "two"})).body["post_id"]
    await eventually(lambda: _is(follower.feed(), [second, first]))
    page = await follower.get(f"/feed?user_id={follower.user_id}&limit=1")
    assert [item["post"]["post_id"] for item in page.body["items"]] == [second]
    rest = await follower.get(f"/feed?pageSize=1&cursor={page.body['next_page_token']}")
    assert [item["post"]["post_id"] for item in rest.body["items"]] == [first]
    assert (await follower.rest.call("DELETE", "/friends/create", {"followee_id": author.user_id})).status == 200
    await eventually(lambda: _is(follower.feed(), []))


async def test_profiles_and_lists(someone: People) -> None:
    """Profiles, look-up, counts, followers and following agree with what was done."""
    one, two = await someone(), await someone()
    await one.follow(two)
    await one.follow(two)
    profile = (await one.get(f"/v1/users/{two.user_id}")).body
    assert (profile["username"], profile["follower_count"], profile["following_count"]) == (two.username, 1, 0)
    assert (await one.get(f"/v1/users:lookup?username={two.username.upper()}")).body == profile
    followers = (await one.get(f"/v1/users/{two.user_id}/followers")).body
    assert [user["user_id"] for user in followers["users"]] == [one.user_id]
    following = (await one.get(f"/v1/users/{one.user_id}/following")).body
    assert [user["user_id"] for user in following["users"]] == [two.user_id]
    assert (await one.get(f"/v1/follows/{two.user_id}")).body == {"following": True, "requested": False}
    renamed = await two.rest.call("PATCH", f"/v1/users/{two.user_id}?update_mask=display_name", {"display_name": "Ünïcode 🎈"})
    assert renamed.body["display_name"] == "Ünïcode 🎈"


async def _is(reading: Awaitable[list[str]], expected: list[str]) -> bool:
    return await reading == expected


async def test_the_biggest_page_is_answered(someone: People) -> None:
    """A page of a hundred posts of the greatest length comes whole, though it is several megabytes."""
    author = await someone()
    content = "\u6f22" * 10_000
    for _ in range(101):
        await author.publish(content)
    await eventually(lambda: _is_long(author, 100))
    page = await author.get("/v1/feed?page_size=100")
    assert page.status == 200
    assert {item["post"]["content"] for item in page.body["items"]} == {content}
    assert (await author.get(f"/v1/users/{author.user_id}/posts?page_size=100")).status == 200


async def test_a_timeline_that_cannot_be_read_is_rebuilt(mesh: Mesh, someone: People) -> None:
    """A timeline of a format that this release does not know harms nobody: it is rebuilt, and deliveries go on."""
    author, follower = await someone(), await someone()
    await follower.follow(author)
    first = await author.publish("first")
    await eventually(lambda: _is(follower.feed(), [first]))
    async with Redis.from_url(mesh.services.redis_url) as redis:
        for user in (author, follower):
            for key in [key async for key in redis.scan_iter(f"*:{user.user_id}")]:
                if not key.startswith(b"sources"):
                    await redis.set(key, "written by somebody else")
    second = await author.publish("second")
    await eventually(lambda: _is(follower.feed(), [second, first]))
    await eventually(lambda: _is(author.feed(), [second, first]))


async def _is_long(user: Someone, length: int) -> bool:
    return len(await user.feed("?page_size=100")) == length
