"""Editing, deleting and paging through posts, over gRPC."""

import asyncio
from itertools import count

import grpc
import pytest
from feed.event.v1 import event_pb2

from meshkit.queue.memory import MemoryQueue
from meshkit.topics import POST_CHANGED, POST_CREATED
from tests.rpc.client import Failure, outcome, refused, tampered
from tests.rpc.inbox import Inbox
from tests.rpc.media_calls import MediaCalls
from tests.rpc.post_calls import Post, Posts

CODE = grpc.StatusCode
ADA, BOB = 11, 12
NEW = "https://new.example/"


@pytest.mark.parametrize(
    ("paths", "content", "pictures"),
    [
        (("content",), "new", "old"),
        (("media_urls",), "old", "new"),
        (("media_urls", "content"), "new", "new"),
        (("*",), "new", "new"),
        ((), "new", "new"),
    ],
)
async def test_a_mask_says_what_is_edited(
    posts: Posts, media: MediaCalls, paths: tuple[str, ...], content: str, pictures: str
) -> None:
    """An edit takes the fields of its mask, `*` takes all, no mask takes what is set; the version grows by one."""
    urls = {"old": [await media.ready(ADA)], "new": [await media.ready(ADA), await media.ready(ADA)]}
    made = await posts.create(ADA, "old", urls["old"])
    wish = Post(post_id=made.post_id, user_id=ADA, content="new", media_urls=urls["new"], version=77)
    edited = await posts.update(ADA, wish, *paths)
    assert (edited.content, list(edited.media_urls), edited.version) == (content, urls[pictures], 2)
    assert (edited.user_id, edited.create_time) == (ADA, made.create_time)
    assert edited.update_time.ToNanoseconds() >= made.update_time.ToNanoseconds()
    assert await posts.get(made.post_id) == edited
    assert await posts.lookup(made.post_id) == list((await posts.by_author(BOB, ADA)).posts) == [edited]


async def test_a_mask_clears_media_and_never_content(posts: Posts, media: MediaCalls) -> None:
    """Media can be cleared by naming them; content can not, not even by `*`."""
    new = await media.ready(ADA)
    made = await posts.create(ADA, "old", [await media.ready(ADA)])
    for paths in (("content",), ("*",), ("content", "media_urls")):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post.content"):
            await posts.update(ADA, Post(post_id=made.post_id), *paths)
    assert await posts.get(made.post_id) == made
    assert list((await posts.update(ADA, Post(post_id=made.post_id), "media_urls")).media_urls) == []
    kept = await posts.update(ADA, Post(post_id=made.post_id, media_urls=[new]))
    assert (kept.content, list(kept.media_urls)) == ("old", [new])


@pytest.mark.parametrize("paths", [("user_id",), ("version",), ("post_id",), ("content", "create_time"), ("*", "content"), ("x",)])
async def test_a_mask_may_only_name_what_can_be_edited(posts: Posts, paths: tuple[str, ...]) -> None:
    """Any other path is INVALID_ARGUMENT and changes nothing."""
    made = await posts.create(ADA, "old")
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "update_mask"):
        await posts.update(ADA, Post(post_id=made.post_id, content="new"), *paths)
    assert await posts.get(made.post_id) == made


async def test_an_edit_has_the_limits_of_a_new_post(posts: Posts) -> None:
    """Content and media keep their limits in an edit, the fields named with their path; and something has to change."""
    made = await posts.create(ADA, "old")
    for content in (" \n", "x" * 10_001):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post.content"):
            await posts.write(ADA, made.post_id, content)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post.media_urls"):
        await posts.update(ADA, Post(post_id=made.post_id, media_urls=[NEW] * 11))
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "update_mask"):
        await posts.update(ADA, Post(post_id=made.post_id))
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "request_id"):
        await posts.write(ADA, made.post_id, "new", request_id="no spaces")
    assert await posts.get(made.post_id) == made


async def test_only_the_author_changes_a_post(posts: Posts) -> None:
    """Another's edit and deletion are PERMISSION_DENIED and change nothing; after the deletion there is no post for them."""
    made = await posts.create(ADA)
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_AUTHOR"):
        await posts.write(BOB, made.post_id, "new")
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_AUTHOR"):
        await posts.delete(BOB, made.post_id)
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "post.user_id"):
        await posts.update(BOB, Post(post_id=made.post_id, user_id=ADA, content="new"), "content")
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "post.user_id"):
        await posts.update(ADA, Post(post_id=made.post_id, user_id=BOB, content="new"), "content")
    assert await posts.get(made.post_id) == made
    await posts.delete(ADA, made.post_id)
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post.post_id"):
        await posts.write(BOB, made.post_id, "new")
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
        await posts.delete(BOB, made.post_id)


async def test_a_deleted_post_is_nowhere(posts: Posts) -> None:
    """No way of reading shows a deleted post, it cannot be edited, and deleting it again is not an error."""
    kept, gone = await posts.create(ADA, "kept"), await posts.create(ADA, "gone")
    for _ in range(2):
        await posts.delete(ADA, gone.post_id)
        with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
            await posts.get(gone.post_id)
        assert await posts.lookup(gone.post_id, kept.post_id) == [kept]
        assert list((await posts.by_author(BOB, ADA)).posts) == [kept]
        assert await posts.entries(ADA) == [(ADA, [kept.post_id])]
        with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post.post_id"):
            await posts.write(ADA, gone.post_id, "back")


async def test_a_repeated_edit_gives_the_first_answer(posts: Posts) -> None:
    """Fifty repeats of an edit at once edit once; a repeat after a later edit gives the first answer and does not undo it."""
    made = await posts.create(ADA, "old")
    answers = await asyncio.gather(*(posts.write(ADA, made.post_id, "new", request_id="r-1") for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0].content, answers[0].version) == ("new", 2)
    later = await posts.write(ADA, made.post_id, "later")
    assert await posts.write(ADA, made.post_id, "new", request_id="r-1") == answers[0]
    assert await posts.get(made.post_id) == later
    await posts.delete(ADA, made.post_id)
    assert await posts.write(ADA, made.post_id, "new", request_id="r-1") == answers[0]
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await posts.write(ADA, made.post_id, "other", request_id="r-1")


async def test_a_repeated_deletion_is_one(posts: Posts) -> None:
    """Fifty repeats of a deletion at once are one change; its request id is for one body, also when nothing was left to delete."""
    made, other = await posts.create(ADA), await posts.create(ADA)
    await asyncio.gather(*(posts.delete(ADA, made.post_id, request_id="r-1") for _ in range(50)))
    assert await posts.lookup(made.post_id) == []
    await posts.delete(ADA, made.post_id, request_id="r-2")
    for request_id in ("r-1", "r-2"):
        with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
            await posts.delete(ADA, other.post_id, request_id=request_id)
    assert await posts.lookup(other.post_id) == [other]


async def test_concurrent_edits_all_land_or_are_refused(posts: Posts) -> None:
    """Of many edits at once none is lost: versions of those that landed are 2, 3, …, the last one holds, others say why not."""
    made = await posts.create(ADA)
    answers = await asyncio.gather(*(outcome(posts.write(ADA, made.post_id, f"edit {number}")) for number in range(40)))
    landed = sorted((answer for answer in answers if isinstance(answer, Post)), key=lambda each: each.version)
    assert {answer.reason for answer in answers if isinstance(answer, Failure)} <= {"CONTENTION"}
    assert landed
    assert [each.version for each in landed] == list(range(2, len(landed) + 2))
    assert await posts.get(made.post_id) == landed[-1]


async def test_edits_and_a_deletion_race_to_a_deleted_post(posts: Posts) -> None:
    """However edits and deletions at once fall out, an acknowledged deletion holds in every way of reading."""
    made = await posts.create(ADA)
    edits = [outcome(posts.write(ADA, made.post_id, f"edit {number}")) for number in range(10)]
    answers = await asyncio.gather(*edits[:5], outcome(posts.delete(ADA, made.post_id)), *edits[5:])
    assert {answer.reason for answer in answers if isinstance(answer, Failure)} <= {"CONTENTION", "POST_NOT_FOUND"}
    await posts.delete(ADA, made.post_id)
    assert await posts.lookup(made.post_id) == []
    assert await posts.entries(ADA) == [(ADA, [])]
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
        await posts.get(made.post_id)


async def test_every_change_is_told_with_its_version(posts: Posts, queue: MemoryQueue) -> None:
    """A post is one event, each edit and the deletion another with its version; a repeat tells only of a deletion again."""
    created, changed = Inbox(), Inbox()
    async with (
        queue.work("test", [POST_CREATED], created, concurrency=1),
        queue.listen([POST_CHANGED], changed, missed=changed.miss),
    ):
        made = await posts.create(ADA, "old", request_id="r-1")
        await posts.create(ADA, "old", request_id="r-1")
        await posts.write(ADA, made.post_id, "new", request_id="r-2")
        await posts.write(ADA, made.post_id, "new", request_id="r-2")
        for _ in range(2):
            await posts.delete(ADA, made.post_id)
        last = await posts.create(ADA, "last")  # what came by then is all that comes
        await posts.write(ADA, last.post_id, "edit")
        await created.wait_for(lambda bodies: len(bodies) >= 2)
        await changed.wait_for(lambda bodies: len(bodies) >= 4)
    events = [event_pb2.Event.FromString(body) for body in created.bodies + changed.bodies]
    assert len({event.event_id for event in events}) == len(events) == 6
    new = {(event.post_created.post_id, event.post_created.author_id) for event in events if event.HasField("post_created")}
    assert new == {(made.post_id, ADA), (last.post_id, ADA)}
    versions = [(event.post_changed.post_id, event.post_changed.version) for event in events if event.HasField("post_changed")]
    assert sorted(versions) == [(made.post_id, 2), *[(made.post_id, 3)] * 2, (last.post_id, 2)]


async def test_an_authors_posts_are_paged_newest_first(posts: Posts) -> None:
    """Pages of any size give every post once, newest first; an author without posts or account has one empty page."""
    made = [await posts.create(ADA, f"{number}") for number in range(25)][::-1]
    for size in (1, 7, 24, 25, 26):
        assert await posts.all_by_author(ADA, size) == made
    assert list((await posts.by_author(BOB, ADA)).posts) == made[:20]
    assert (await posts.by_author(BOB, ADA, size=25)).next_page_token == ""
    empty = await posts.by_author(ADA, BOB)
    assert (list(empty.posts), empty.next_page_token) == ([], "")


async def test_page_sizes_are_made_to_fit(posts: Posts) -> None:
    """0 is 20, 100 is 100, 101 is 100, and -1 is INVALID_ARGUMENT."""
    await asyncio.gather(*(posts.create(ADA) for _ in range(101)))
    for asked, given in ((0, 20), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)):
        assert len((await posts.by_author(BOB, ADA, size=asked)).posts) == given
    for size in (-1, -(2**31)):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_size"):
            await posts.by_author(BOB, ADA, size=size)


async def test_paging_holds_while_posts_come_and_go(posts: Posts) -> None:
    """What is there from the first page to the last is shown once, in order, on full pages, whatever comes or goes meanwhile."""
    made = [(await posts.create(ADA)).post_id for _ in range(30)][::-1]
    leaving = iter(made[3::4])  # the last ones of pages, which their tokens name
    numbers = count()

    async def change() -> None:
        await posts.delete(ADA, next(leaving, made[3]))
        await posts.create(ADA, f"late {next(numbers)}")

    listed = [each.post_id for each in await posts.all_by_author(ADA, 4, between=change)]
    assert listed == sorted(set(listed), reverse=True)
    assert set(made) - set(made[3::4]) <= set(listed) <= set(made)


async def test_a_token_is_for_its_viewer_and_its_author(posts: Posts) -> None:
    """A changed or made-up token, somebody else's and another author's are INVALID_ARGUMENT."""
    for author in (ADA, BOB) * 2:
        await posts.create(author)
    token = (await posts.by_author(ADA, BOB, size=1)).next_page_token
    assert len((await posts.by_author(ADA, BOB, token)).posts) == 1
    for wrong in tampered(token):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
            await posts.by_author(ADA, BOB, wrong)
    for viewer, author in ((BOB, BOB), (ADA, ADA)):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
            await posts.by_author(viewer, author, token)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_token"):
        await posts.by_author(ADA, BOB, "A" * 513)
