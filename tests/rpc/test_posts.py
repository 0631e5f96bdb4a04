"""Publishing and reading posts, over gRPC."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from feed.post.v1 import post_service_pb2 as pb
from hypothesis import example, given, settings
from hypothesis import strategies as st

import post_svc.__main__ as post
from meshkit.queue.memory import MemoryQueue
from meshkit.settings import MeshSettings
from tests.rpc.client import Tokens, post_settings, refused, stubs
from tests.rpc.media_calls import MediaCalls
from tests.rpc.post_calls import Post, Posts

CODE = grpc.StatusCode
ABSENT_ID = 2**64 - 1
ADA, BOB, EVE = 11, 12, 2**64 - 1
URL = "https://example.org/"


async def test_a_post_is_read_as_it_was_made(posts: Posts, media: MediaCalls) -> None:
    """What CreatePost answers is what every way of reading gives."""
    pictures = [await media.ready(ADA), await media.ready(ADA)]
    made = await posts.create(ADA, "hello\n\tworld", pictures, as_user=ADA)
    assert (made.user_id, made.content, made.version) == (ADA, "hello\n\tworld", 1)
    assert list(made.media_urls) == pictures
    assert made.create_time == made.update_time
    assert made.create_time.seconds > 1_704_067_200
    assert await posts.get(made.post_id, BOB) == made
    assert await posts.lookup(made.post_id) == [made]
    assert list((await posts.by_author(BOB, ADA)).posts) == [made]
    assert await posts.entries(ADA) == [(ADA, [made.post_id])]


async def test_a_later_post_has_a_larger_id(posts: Posts) -> None:
    """Ids grow with every acknowledged post, also across authors."""
    ids = [(await posts.create(author)).post_id for author in (ADA, BOB, EVE) * 5]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("content", ["x", "x" * 10_000, "😀" * 10_000, "a" + " " * 9_999, "\u200b", "\0", "\u202e\u0301"])
async def test_content_within_its_limits_is_kept(posts: Posts, content: str) -> None:
    """1 to 10,000 code points that are not all white space are kept exactly."""
    made = await posts.create(ADA, content)
    assert (await posts.get(made.post_id)).content == made.content == content


@pytest.mark.parametrize("content", ["", " ", "\n\t \r", "\u3000\u00a0\u2003", "x" * 10_001, "😀" * 10_001, "x" * 100_001])
async def test_content_outside_its_limits_is_refused(posts: Posts, content: str) -> None:
    """No content, only white space, or one code point too many is INVALID_ARGUMENT, names the field, and makes nothing."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "content"):
        await posts.create(ADA, content)
    assert await posts.entries(ADA) == [(ADA, [])]


async def test_a_request_that_is_huge_is_refused(posts: Posts) -> None:
    """A message over 1 MiB does not get as far as the service."""
    with refused(CODE.RESOURCE_EXHAUSTED, ""):
        await posts.create(ADA, "x" * 1_100_000)


@given(content=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(str.strip))
@example(
    content="e\u0301 \u05e9\u05dc\u05d5\u05dd \u202eabc\u202c \U0001f469\u200d\U0001f4bb \0 \ufffe\U0010ffff\ufeff \r\n \ud7ff"
)
@settings(max_examples=100, deadline=None, database=None)
def test_all_of_unicode_is_kept_exactly(alphabet_service: tuple[asyncio.Runner, Posts], content: str) -> None:
    """Any text of Unicode comes back code point by code point: not normalised, trimmed or cut."""
    runner, posts = alphabet_service

    async def there_and_back() -> str:
        return (await posts.get((await posts.create(ADA, content)).post_id, ADA)).content

    assert runner.run(there_and_back()) == content


@pytest.fixture(scope="module")
def alphabet_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Posts]]:
    """Run one post service for all examples, in a loop of its own."""
    common: dict[str, object] = {"data_dir": tmp_path_factory.mktemp("alphabet")}
    with asyncio.Runner() as runner:
        serving = post.running(post_settings(common), MemoryQueue())
        connecting = stubs(runner.run(serving.__aenter__()))
        yield runner, Posts(runner.run(connecting.__aenter__()), Tokens(MeshSettings.model_validate(common)))
        runner.run(connecting.__aexit__(None, None, None))
        runner.run(serving.__aexit__(None, None, None))


@pytest.mark.parametrize(
    "media_urls",
    [
        [URL] * 11,
        [URL + "x" * (2049 - len(URL))],
        [URL, ""],
        *(
            [wrong]
            for wrong in ("ftp://a", "//a/b", "/a", "a", "http://", "http:///a", "javascript:alert(1)", "http://a b", " http://a")
        ),
        [URL, "http://a\n"],
        ["https://?q"],
    ],
)
async def test_media_urls_outside_their_limits_are_refused(posts: Posts, media_urls: list[str]) -> None:
    """Too many, too long, empty or not an absolute http URL is INVALID_ARGUMENT and names the field. More: test_media_posts.py."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "media_urls"):
        await posts.create(ADA, media_urls=media_urls)
    assert await posts.entries(ADA) == [(ADA, [])]


async def test_every_wrong_field_is_named(posts: Posts) -> None:
    """One answer names all that is wrong."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "content", "media_urls", "request_id"):
        await posts.create(ADA, "", ["nonsense"], request_id="no spaces")


async def test_nobody_posts_for_another(posts: Posts) -> None:
    """A user_id that is not the caller is PERMISSION_DENIED and makes nothing."""
    with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "user_id"):
        await posts.create(EVE, as_user=ADA)
    assert await posts.entries(ADA, EVE) == [(ADA, []), (EVE, [])]


async def test_a_service_is_nobody_who_can_post(posts: Posts) -> None:
    """A post has a user as its author: a service, which speaks for no user, may neither make, edit nor delete one."""
    made, calls, service = await posts.create(ADA), posts.stubs.posts, posts.tokens.service()
    edit = pb.UpdatePostRequest(post=Post(post_id=made.post_id, content="x"))
    for call in (
        calls.CreatePost(pb.CreatePostRequest(content="x"), metadata=service),
        calls.UpdatePost(edit, metadata=service),
        calls.DeletePost(pb.DeletePostRequest(post_id=made.post_id), metadata=service),
    ):
        with refused(CODE.PERMISSION_DENIED, "NOT_A_USER"):
            await call
    assert await posts.lookup(made.post_id) == [made]


async def test_a_repeated_request_gives_the_first_answer(posts: Posts, media: MediaCalls) -> None:
    """Fifty repeats at once make one post; a repeat after an edit, and after the deletion, gives the post as it was made."""
    url = await media.ready(ADA)
    answers = await asyncio.gather(*(posts.create(ADA, "first", [url], request_id="r-1") for _ in range(50)))
    made = answers[0]
    assert all(answer == made for answer in answers)
    assert await posts.entries(ADA) == [(ADA, [made.post_id])]
    await posts.write(ADA, made.post_id, "second")
    assert await posts.create(ADA, "first", [url], request_id="r-1") == made
    await posts.delete(ADA, made.post_id)
    assert await posts.create(ADA, "first", [url], request_id="r-1") == made
    assert await posts.entries(ADA) == [(ADA, [])]


async def test_a_request_id_is_for_one_body_and_one_caller(posts: Posts) -> None:
    """The same id with another content, other media or another method is an error; another caller's is another request."""
    made = await posts.create(ADA, "first", request_id="r-1")
    for content, media_urls in (("second", []), ("first", [URL])):
        with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
            await posts.create(ADA, content, media_urls, request_id="r-1")
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await posts.write(ADA, made.post_id, "first", request_id="r-1")
    assert await posts.get(made.post_id) == made
    assert (await posts.create(BOB, "second", request_id="r-1")).post_id != made.post_id
    assert await posts.entries(ADA) == [(ADA, [made.post_id])]


async def test_without_a_request_id_every_call_is_a_post(posts: Posts) -> None:
    """The same text twice is two posts."""
    assert (await posts.create(ADA)).post_id != (await posts.create(ADA)).post_id


async def test_unknown_posts_are_not_found(posts: Posts) -> None:
    """A post that never was answers NOT_FOUND and names the field, for every method; no id at all is INVALID_ARGUMENT."""
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
        await posts.get(ABSENT_ID)
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
        await posts.delete(ADA, ABSENT_ID)
    with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post.post_id"):
        await posts.write(ADA, ABSENT_ID, "text")
    for call in (posts.get(0), posts.delete(ADA, 0)):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post_id"):
            await call
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "user_id"):
        await posts.by_author(ADA, 0)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post"):
        await posts.stubs.posts.UpdatePost(pb.UpdatePostRequest(), metadata=posts.tokens.user(ADA))


async def test_many_posts_are_looked_up_at_once(posts: Posts) -> None:
    """LookupPosts gives those that exist, each once, of at most 1,000 ids; none for none."""
    made = [await posts.create(author, f"post {author}") for author in (ADA, BOB, EVE)]
    ids = [each.post_id for each in made]
    found = await posts.lookup(*ids, ABSENT_ID, 0, *ids)
    assert sorted(found, key=lambda each: each.post_id) == made
    assert await posts.lookup() == []
    assert len(await posts.lookup(*ids, *range(1, 998))) == 3
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "post_ids"):
        await posts.lookup(*range(1, 1002))


async def test_authors_entries_are_in_the_order_asked_for(posts: Posts) -> None:
    """ListAuthorEntries gives an answer for each author, newest first, below a bound, up to the limit."""
    adas = [(await posts.create(ADA)).post_id for _ in range(5)][::-1]
    bobs = [(await posts.create(BOB)).post_id for _ in range(2)][::-1]
    assert await posts.entries(BOB, EVE, ADA) == [(BOB, bobs), (EVE, []), (ADA, adas)]
    assert await posts.entries(ADA, BOB, limit=2) == [(ADA, adas[:2]), (BOB, bobs)]
    assert await posts.entries(ADA, before=adas[1], limit=2) == [(ADA, adas[2:4])]
    assert await posts.entries(ADA, before=adas[-1]) == [(ADA, [])]
    assert await posts.entries(ADA, ADA, limit=1) == [(ADA, adas[:1])] * 2
    assert await posts.entries() == []
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "author_ids"):
        await posts.entries(*range(1, 1002))


async def test_entries_have_a_default_and_a_most(posts: Posts) -> None:
    """A limit of 0 is 100 entries an author, and one over 1,000 is 1,000."""
    made = await asyncio.gather(*(posts.create(ADA) for _ in range(1_001)))
    newest = sorted((each.post_id for each in made), reverse=True)
    assert await posts.entries(ADA) == [(ADA, newest[:100])]
    assert await posts.entries(ADA, limit=2**32 - 1) == [(ADA, newest[:1_000])]


async def test_posts_outlive_a_restart(common: dict[str, object], queue: MemoryQueue, tokens: Tokens) -> None:
    """An acknowledged post, edit and deletion hold after a stop and a start on the same folder."""
    async with post.running(post_settings(common), queue) as address, stubs(address) as connected:
        posts = Posts(connected, tokens)
        kept, gone = await posts.create(ADA, "old"), await posts.create(ADA)
        kept = await posts.write(ADA, kept.post_id, "new")
        await posts.delete(ADA, gone.post_id)
    async with post.running(post_settings(common), queue) as address, stubs(address) as connected:
        posts = Posts(connected, tokens)
        assert await posts.get(kept.post_id, ADA) == kept
        assert [each.post_id for each in (await posts.by_author(ADA, ADA)).posts] == [kept.post_id]
