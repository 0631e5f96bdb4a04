"""Who may see whose posts: by id and on an author's page, over gRPC with a graph service beside the posts."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from feed.post.v1 import post_service_pb2 as pb
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

import graph_svc.__main__ as graph
import post_svc.__main__ as post
from meshkit.ids import IdGenerator
from meshkit.outbox import Outbox
from meshkit.queue.memory import MemoryQueue
from meshkit.table.sqlite import open_sqlite
from post_svc.attachments import Attachments
from post_svc.delivery_rows import DeliveryRepository
from post_svc.events import encode
from post_svc.media_rows import MediaRepository
from post_svc.posts import PostRepository
from post_svc.reading import PostReader
from post_svc.service import PostService
from post_svc.turned import TurnedAuthors
from tests.rpc.client import Failure, Tokens, graph_settings, outcome, post_settings, refused, stubs
from tests.rpc.conftest import People
from tests.rpc.feeds import Feeds
from tests.rpc.follow_calls import Graph
from tests.rpc.post_calls import Post, Posts

CODE = grpc.StatusCode
ABSENT_ID = 2**64 - 1
Deed = Callable[[Graph, int, int], Awaitable[object]]


async def block(follows: Graph, author: int, viewer: int) -> None:
    """Have the author block the viewer."""
    await follows.block(author, viewer)


async def be_blocked(follows: Graph, author: int, viewer: int) -> None:
    """Have the viewer block the author."""
    await follows.block(viewer, author)


async def hide(follows: Graph, author: int, viewer: int) -> None:
    """Have the author go private, and the viewer ask in vain so far."""
    await follows.set_private(author, private=True)
    await follows.follow(viewer, author)


async def end_of_block(follows: Graph, author: int, viewer: int) -> None:
    """Have nobody block anybody."""
    await follows.unblock(author, viewer)
    await follows.unblock(viewer, author)


async def approval(follows: Graph, author: int, viewer: int) -> None:
    """Let the viewer follow."""
    await follows.approve(author, viewer)


WAYS = pytest.mark.parametrize(
    ("deed", "undoing"),
    [(block, end_of_block), (be_blocked, end_of_block), (hide, approval)],
    ids=["blocked", "blocking", "private"],
)


async def seen(posts: Posts, viewer: int, made: Post) -> bool:
    """Tell whether a viewer sees a post; both ways of reading have to agree, and to refuse in the right words."""
    by_id, by_author = await outcome(posts.get(made.post_id, viewer)), await outcome(posts.by_author(viewer, made.user_id))
    if isinstance(by_id, Post):
        assert not isinstance(by_author, Failure)
        assert by_id == made
        assert made in by_author.posts
        return True
    assert isinstance(by_author, Failure)
    assert (by_id.code, by_id.reason, by_id.fields) == (CODE.NOT_FOUND, "POST_NOT_FOUND", ("post_id",))
    assert (by_author.code, by_author.reason, by_author.fields) == (CODE.PERMISSION_DENIED, "NOT_VISIBLE", ())
    return False


@WAYS
async def test_posts_are_seen_by_whom_their_author_lets_see_them(
    posts: Posts, follows: Graph, people: People, deed: Deed, undoing: Deed
) -> None:
    """What hides an account hides its posts at once on both ways of reading, from nobody else, until it is undone."""
    author, viewer, follower = await people.ids(3)
    await follows.follow(follower, author)
    made = await posts.create(author)
    assert await seen(posts, viewer, made)
    await deed(follows, author, viewer)
    assert not await seen(posts, viewer, made)
    later = await posts.create(author)
    assert not await seen(posts, viewer, later)
    for other in (author, follower):
        assert await seen(posts, other, made)
    await undoing(follows, author, viewer)
    assert await seen(posts, viewer, later)


@WAYS
async def test_a_hidden_post_looks_like_none(posts: Posts, follows: Graph, people: People, deed: Deed, undoing: Deed) -> None:
    """Nobody can tell a post that they may not see from one that never was or was deleted, nor one reason from another."""
    author, viewer = await people.ids(2)
    made, gone = await posts.create(author), await posts.create(author)
    await posts.delete(author, gone.post_id)
    await deed(follows, author, viewer)
    failures = [await outcome(posts.get(post_id, viewer)) for post_id in (made.post_id, gone.post_id, ABSENT_ID)]
    assert isinstance(failures[0], Failure)
    assert len(set(failures)) == 1
    page = await outcome(posts.by_author(viewer, author))
    assert isinstance(page, Failure)
    assert page.text == "this account's posts are not for you to see"
    await undoing(follows, author, viewer)
    assert await seen(posts, viewer, made)


async def refusals(posts: Posts, caller: int, post_id: int) -> list[Status]:
    """Give what a caller is answered, to the last detail, who tries to edit a post and then to delete it."""
    given = []
    for change in (posts.write(caller, post_id, "mine"), posts.delete(caller, post_id)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await change
        given.append(rpc_status.from_call(caught.value))  # type: ignore[arg-type]  # it has what is read: code, details, metadata
    return given


@WAYS
async def test_who_may_not_see_a_post_learns_nothing_by_changing_it(
    posts: Posts, follows: Graph, people: People, deed: Deed, undoing: Deed
) -> None:
    """Edits and deletions of another's post are refused as such while it is seen, and otherwise exactly as of an unknown one."""
    author, viewer = await people.ids(2)
    made, gone = await posts.create(author), await posts.create(author)
    denied, unknown = await refusals(posts, viewer, made.post_id), await refusals(posts, viewer, ABSENT_ID)
    assert [answer.code for answer in (*denied, *unknown)] == [*[code_pb2.PERMISSION_DENIED] * 2, *[code_pb2.NOT_FOUND] * 2]
    assert all(len(answer.details) for answer in (*denied, *unknown))
    await posts.delete(author, gone.post_id)
    assert await refusals(posts, viewer, gone.post_id) == unknown
    await deed(follows, author, viewer)
    for hidden in (made, gone):
        assert await refusals(posts, viewer, hidden.post_id) == unknown
    await undoing(follows, author, viewer)
    assert await refusals(posts, viewer, made.post_id) == denied
    assert await posts.get(made.post_id, author) == made


async def test_a_page_token_gives_no_more_to_see(posts: Posts, follows: Graph, people: People) -> None:
    """A token from before a block does not lead to the next page after it."""
    author, viewer = await people.ids(2)
    for _ in range(3):
        await posts.create(author)
    token = (await posts.by_author(viewer, author, size=1)).next_page_token
    assert token
    await follows.block(author, viewer)
    with refused(CODE.PERMISSION_DENIED, "NOT_VISIBLE"):
        await posts.by_author(viewer, author, token)


async def test_services_see_all_posts(posts: Posts, follows: Graph, people: People) -> None:
    """A service, which decides itself what it shows to whom, finds private posts by id, by many ids and by author."""
    author = (await people.ids(1))[0]
    await follows.set_private(author, private=True)
    made = await posts.create(author)
    asked = await posts.stubs.posts.GetPost(pb.GetPostRequest(post_id=made.post_id), metadata=posts.tokens.service())
    assert [asked.post] == await posts.lookup(made.post_id) == [made]
    assert await posts.entries(author) == [(author, [made.post_id])]
    assert (await posts.describe(made.post_id)).author_id == author


async def test_without_the_graph_only_ones_own_posts_are_read(
    common: dict[str, object], queue: MemoryQueue, tokens: Tokens, feeds: Feeds
) -> None:
    """While it is not known who may see posts nobody but their author does; posting, editing and deleting go on."""
    async with graph.running(graph_settings(common, timeline_address=feeds.address), queue) as address:
        pass  # its port is free again
    async with post.running(post_settings(common, graph_address=address), queue) as service, stubs(service) as connected:
        posts = Posts(connected, tokens)
        made, gone = await posts.create(11), await posts.create(11)
        await posts.delete(11, gone.post_id)
        assert await seen(posts, 11, made)
        for call in (posts.get(made.post_id, 12), posts.by_author(12, 11)):
            with refused(CODE.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"):
                await call
        assert (await posts.write(11, made.post_id, "new")).version == 2
        for change in (posts.write(12, made.post_id, "mine"), posts.delete(12, made.post_id)):
            with refused(CODE.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"):
                await change
        with refused(CODE.NOT_FOUND, "POST_NOT_FOUND", "post_id"):
            await posts.get(gone.post_id, 12)


async def test_nothing_is_shown_that_was_posted_after_the_answer(tmp_path: Path) -> None:
    """A page whose viewer may see it by an answer from before does not have what the author posted after that answer."""
    async with MemoryQueue() as queue, open_sqlite(tmp_path / "posts.db") as table:

        class Closing:
            """An account that goes private, and goes on posting, as soon as it has said that it is public."""

            async def can_view(self, viewer_id: int, author_id: int) -> bool:
                """Say so."""
                assert (viewer_id, author_id) == (12, 11)
                await posts.create(11, "for friends", (), None)
                return True

        attachments = Attachments(MediaRepository(table), "https://media.test")
        posts = PostService(
            table, IdGenerator(1), Outbox(table, queue), encode, attachments, Closing(), TurnedAuthors(DeliveryRepository(table))
        )
        public = await posts.create(11, "for all", (), None)
        page = await PostReader(PostRepository(table), Closing()).page_by_author(12, 11, 10, None)
    assert page.posts == [public]
