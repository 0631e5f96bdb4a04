"""The timelines' contract: what goes over the wire, and who may ask for what."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from feed.post.v1 import post_pb2
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.ids import IdGenerator
from tests.timeline.peers import Timelines, read, timelines, write
from timeline_svc.servicer import encode_feed, frame_item

Request = timeline_service_pb2.GetHomeTimelineRequest
Response = timeline_service_pb2.GetHomeTimelineResponse

# Lengths around those where a length prefix gets another byte: of the post itself, and of the item around it.
LENGTHS = st.sampled_from([0, 1, *range(100, 135), *range(16_350, 16_390), 70_000]) | st.integers(0, 20_000)
POSTS = st.builds(
    lambda post_id, length, text, urls: post_pb2.Post(post_id=post_id, content=text + "x" * length, media_urls=urls),
    st.integers(0, 2**64 - 1),
    LENGTHS,
    st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
)


async def refused(service: Timelines, user: int, request: Request) -> tuple[grpc.StatusCode, str, list[str]]:
    """Read a page and be refused: code, reason, and the fields that are wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await service.stub.GetHomeTimeline(request, metadata=service.user(user))
    status = rpc_status.from_call(failure.value)  # type: ignore[arg-type]  # an AioRpcError has what it reads
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return failure.value.code(), info.reason, [violation.field for violation in bad.field_violations]


@settings(deadline=None, database=None, max_examples=150)
@given(posts=st.lists(POSTS, max_size=4), token=st.text(max_size=200))
def test_an_answer_is_encoded_as_the_contract_has_it(posts: list[post_pb2.Post], token: str) -> None:
    """What is put together from posts' bytes is byte for byte what the generated classes would send."""
    encoded = encode_feed([frame_item(post.SerializeToString()) for post in posts], token)
    expected = Response(items=[timeline_pb2.FeedItem(post=post) for post in posts], next_page_token=token)
    assert encoded == expected.SerializeToString()
    assert Response.FromString(encoded) == expected


async def test_a_feed_is_paged_to_its_end(service: Timelines, users: Iterator[int]) -> None:
    """Following the tokens shows every post, whole, once; 0 asks for 20, and more than 100 gives 100."""
    viewer, author = next(users), next(users)
    service.world.edges[viewer].add(author)
    ids = write(service, author, 330)
    (first, token), (most, _) = await read(service, viewer, Request()), await read(service, viewer, Request(page_size=1_000))
    assert (first, most) == (ids[:20], ids[:100])
    shown = first
    while token:
        page, token = await read(service, viewer, Request(page_size=100, page_token=token))
        shown += page
    assert shown == ids
    response = await service.stub.GetHomeTimeline(Request(page_size=1), metadata=service.user(viewer))
    assert response.items[0].post == service.world.posts[ids[0]]


async def test_aliases_are_the_same_fields(service: Timelines, users: Iterator[int]) -> None:
    """`limit` and `cursor` mean `page_size` and `page_token`; giving both alike is allowed."""
    viewer = next(users)
    ids = write(service, viewer, 12)
    page, cursor = await read(service, viewer, Request(limit=5))
    assert page == ids[:5]
    assert await read(service, viewer, Request(limit=5, page_size=5, cursor=cursor, page_token=cursor)) == (
        await read(service, viewer, Request(page_size=5, page_token=cursor))
    )
    assert (await read(service, viewer, Request(limit=20, cursor=cursor))) == (ids[5:], "")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(page_size=-1), "page_size"),
        (Request(page_size=5, limit=6), "limit"),
        (Request(page_token="a", cursor="b"), "cursor"),
        (Request(mode=99), "mode"),  # type: ignore[arg-type]  # a client may know more modes
        (Request(mode=-1), "mode"),  # type: ignore[arg-type]
        (Request(page_token="x" * 513), "page_token"),
        (Request(page_token="not base64!"), "page_token"),
        (Request(cursor="AAAA"), "page_token"),
    ],
)
async def test_a_wrong_request_names_the_field(service: Timelines, user: int, request_: Request, field: str) -> None:
    """What is wrong with a request is INVALID_ARGUMENT, with the field's name."""
    code, _, fields = await refused(service, user, request_)
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_token_is_good_for_nobody_else(service: Timelines, users: Iterator[int]) -> None:
    """A page token of another user, or one with any character changed, is not usable."""
    viewer, other = next(users), next(users)
    write(service, viewer, 3)
    _, token = await read(service, viewer, Request(page_size=1))
    unusable = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", ["page_token"])
    assert await refused(service, other, Request(page_token=token)) == unusable
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert await refused(service, viewer, Request(page_token=changed)) == unusable
    assert await refused(service, viewer, Request(page_token=token[:-4])) == unusable


async def test_a_feed_is_only_for_its_owner(service: Timelines, users: Iterator[int]) -> None:
    """Naming oneself is allowed, naming somebody else is not."""
    viewer, other = next(users), next(users)
    ids = write(service, viewer, 1)
    assert await read(service, viewer, Request(user_id=viewer, mode=timeline_pb2.FEED_MODE_CHRONOLOGICAL)) == (ids, "")
    code, reason, _ = await refused(service, viewer, Request(user_id=other))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_THE_CALLER")


async def test_nobody_has_no_feed(service: Timelines) -> None:
    """Without a token, and with one that is not valid, there is no feed."""
    for metadata in ((), (("authorization", "Bearer no.such.token"),), (("x-feedmesh-service", "forged"),)):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.GetHomeTimeline(Request(), metadata=metadata)
        assert failure.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_only_services_push(service: Timelines, users: Iterator[int]) -> None:
    """Users and nobody are refused and change nothing; services deliver, and are told how many hold the entry."""
    author, follower, inactive = next(users), next(users), next(users)
    service.world.edges[follower].add(author)
    for user in (author, follower):
        await read(service, user, Request())
    (post_id,) = write(service, author, 1)
    entry = timeline_pb2.Entry(post_id=post_id, author_id=author)
    push = timeline_service_pb2.PushEntriesRequest(entry=entry, user_ids=[follower, inactive])
    push_author = timeline_service_pb2.PushAuthorEntriesRequest(entries=[entry])
    for metadata, code in (
        (service.user(author), grpc.StatusCode.PERMISSION_DENIED),
        ((), grpc.StatusCode.UNAUTHENTICATED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.PushEntries(push, metadata=metadata)
        assert failure.value.code() is code
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.PushAuthorEntries(push_author, metadata=metadata)
        assert failure.value.code() is code
    assert [await read(service, user, Request()) for user in (author, follower)] == [([], "")] * 2
    await service.stub.PushAuthorEntries(push_author, metadata=service.service())
    assert await read(service, author, Request()) == ([post_id], "")
    pushed = await service.stub.PushEntries(push, metadata=service.service())
    assert pushed.delivered_count == 1
    assert await read(service, follower, Request()) == ([post_id], "")


@pytest.mark.parametrize(
    "request_",
    [
        timeline_service_pb2.PushEntriesRequest(user_ids=[1]),
        timeline_service_pb2.PushEntriesRequest(entry=timeline_pb2.Entry(), user_ids=[1] * 10_001),
    ],
)
async def test_a_push_is_checked(service: Timelines, request_: timeline_service_pb2.PushEntriesRequest) -> None:
    """A push without an entry, or to more users than a call may name, is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await service.stub.PushEntries(request_, metadata=service.service())
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_push_to_nobody_is_done(service: Timelines) -> None:
    """Without users there is nothing to do."""
    request = timeline_service_pb2.PushEntriesRequest(entry=timeline_pb2.Entry(post_id=1, author_id=2))
    assert (await service.stub.PushEntries(request, metadata=service.service())).delivered_count == 0


async def test_follows_and_edits_come_by_the_queue(service: Timelines, users: Iterator[int]) -> None:
    """What the queues tell of edges and posts is in the feed: a new followee's posts, an edit, a deletion, an unfollow."""
    viewer, author = next(users), next(users)
    ids, versions = write(service, author, 3), IdGenerator(2)
    assert await read(service, viewer, Request()) == ([], "")
    service.world.edges[viewer].add(author)
    await service.follow_changed(viewer, author, versions.next(), following=True)
    assert await read(service, viewer, Request()) == (ids, "")
    await service.post_changed(ids[0], service.world.edit(ids[0], "edited"))
    await service.post_changed(ids[1], service.world.remove(ids[1]))
    # Broadcasts arrive soon, nobody says when.
    async with asyncio.timeout(10):
        while (await read(service, viewer, Request()))[0] != [ids[0], ids[2]]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    response = await service.stub.GetHomeTimeline(Request(), metadata=service.user(viewer))
    assert [item.post.content for item in response.items] == ["edited", f"post {ids[2]}"]
    service.world.edges[viewer].discard(author)
    await service.follow_changed(viewer, author, versions.next(), following=False)
    assert await read(service, viewer, Request()) == ([], "")


async def test_a_late_change_is_checked_with_the_graph(service: Timelines, users: Iterator[int]) -> None:
    """A change that is hours old counts only as the graph confirms it."""
    viewer, author = next(users), next(users)
    service.world.edges[viewer].add(author)
    ids = write(service, author, 2)
    assert await read(service, viewer, Request()) == (ids, "")
    await service.follow_changed(viewer, author, 1, following=False)
    assert await read(service, viewer, Request()) == (ids, "")


async def test_peers_that_are_away_make_the_feed_unavailable(service: Timelines, user: int) -> None:
    """Where what is needed does not answer, the caller is told to try again, and nothing of why."""
    service.world.away = True
    code, reason, fields = await refused(service, user, Request())
    assert (code, reason, fields) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", [])


async def test_a_read_asks_posts_that_cannot_be_read_once(service: Timelines, user: int) -> None:
    """While the post service answers that its table is away, a read of a timeline that is there is one call of it."""
    write(service, user, 25)
    await service.stub.GetHomeTimeline(Request(page_size=1), metadata=service.user(user))
    service.world.away = True
    service.world.calls.clear()
    code, reason, _ = await refused(service, user, Request())
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert service.world.calls == {"lookup": 1}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1"])
async def test_without_servers_feeds_are_whole(url: str, tmp_path: Path) -> None:
    """With nobody at the URL the service starts, and every page to the end is what the tables say; pushes are to come again."""
    async with timelines(url, tmp_path) as service:
        service.world.edges[1].add(2)
        ids = write(service, 2, 25)
        first, token = await read(service, 1, Request(page_size=20))
        second, end = await read(service, 1, Request(page_size=20, page_token=token))
        assert (first + second, end) == (ids, "")
        push = timeline_service_pb2.PushEntriesRequest(entry=timeline_pb2.Entry(post_id=ids[0], author_id=2), user_ids=[1])
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.PushEntries(push, metadata=service.service())
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
