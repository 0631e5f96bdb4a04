"""The timelines' contract: who may hide authors, mark them and ask why, and what they are told."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import grpc
import pytest
from feed.post.v1 import delivery_pb2
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2
from google.protobuf.message import Message

from meshkit.clock import now_ms
from meshkit.ids import IdGenerator
from tests.timeline.home import relation_of
from tests.timeline.peers import Timelines, read, write
from tests.timeline.servers import until
from timeline_svc.explain import Reason
from timeline_svc.ports import Turned

Explain = timeline_service_pb2.ExplainPostRequest
Hide = timeline_service_pb2.HideAuthorRequest
Mark = timeline_service_pb2.MarkPulledAuthorRequest
PULL = delivery_pb2.DELIVERY_PULL


async def explained(service: Timelines, request: Explain, *, user: int = 0) -> timeline_pb2.Explanation:
    """Ask why, as a user or as a service."""
    metadata = service.user(user) if user else service.service()
    return (await service.stub.ExplainPost(request, metadata=metadata)).explanation


async def code_of(service: Timelines, request: Message, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """Make a call that is refused, and give the code."""
    calls: dict[type[Message], Callable[..., Awaitable[object]]] = {
        Explain: service.stub.ExplainPost,
        Hide: service.stub.HideAuthor,
        Mark: service.stub.MarkPulledAuthor,
    }
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await calls[type(request)](request, metadata=metadata)
    return failure.value.code()


async def test_a_hidden_author_is_gone_when_the_call_is_answered(service: Timelines, users: Iterator[int]) -> None:
    """Once HideAuthor is answered the author's posts are out of the feed, late pushes too; a newer change brings them back."""
    viewer, author = next(users), next(users)
    service.world.edges[viewer].add(author)
    ids, versions = write(service, author, 3), IdGenerator(2)
    assert await read(service, viewer) == (ids, "")
    service.world.edges[viewer].discard(author)
    old, newest = versions.next(), versions.next()
    hide = Hide(viewer_id=viewer, author_id=author, edge_version=old)
    await service.stub.HideAuthor(hide, metadata=service.service())
    push = timeline_service_pb2.PushEntriesRequest(entry=timeline_pb2.Entry(post_id=ids[0], author_id=author), user_ids=[viewer])
    await service.stub.PushEntries(push, metadata=service.service())
    assert await read(service, viewer) == ([], "")
    service.world.edges[viewer].add(author)
    await service.follow_changed(viewer, author, newest, following=True)
    await service.stub.HideAuthor(hide, metadata=service.service())
    assert await read(service, viewer) == (ids, "")


async def test_marked_timelines_pull(service: Timelines, users: Iterator[int]) -> None:
    """Timelines that exist are marked and counted, and show from then on what is only among the author's recent posts."""
    follower, inactive, author = next(users), next(users), next(users)
    service.world.edges[follower].add(author)
    assert await read(service, follower) == ([], "")
    mark = Mark(author_id=author, turn=1, user_ids=[follower, inactive])
    assert (await service.stub.MarkPulledAuthor(mark, metadata=service.service())).marked_count == 1
    (post_id,) = write(service, author, 1)
    entry = timeline_service_pb2.PushAuthorEntriesRequest(entries=[timeline_pb2.Entry(post_id=post_id, author_id=author)])
    await service.stub.PushAuthorEntries(entry, metadata=service.service())
    assert await read(service, follower) == ([post_id], "")
    nobody = Mark(author_id=author, turn=1)
    assert (await service.stub.MarkPulledAuthor(nobody, metadata=service.service())).marked_count == 0


async def test_turns_are_asked_of_the_posts(service: Timelines, users: Iterator[int]) -> None:
    """A timeline that is made after an author turned knows it from the log of turns."""
    viewer, author = next(users), next(users)
    service.world.edges[viewer].add(author)
    service.world.turns[author] = Turned(author, 1, 1_000, pushed=False)
    assert await read(service, viewer) == ([], "")
    (post_id,) = write(service, author, 1)
    entry = timeline_service_pb2.PushAuthorEntriesRequest(entries=[timeline_pb2.Entry(post_id=post_id, author_id=author)])
    await service.stub.PushAuthorEntries(entry, metadata=service.service())

    async def is_shown() -> bool:
        return await read(service, viewer) == ([post_id], "")

    # What was kept of the author's recent posts is old soon.
    await until(is_shown)


async def test_who_left_lately_is_asked_of_the_graph(service: Timelines, users: Iterator[int]) -> None:
    """A timeline that is made after an author was unfollowed hides what comes late."""
    viewer, author = next(users), next(users)
    service.world.left_at[viewer][author] = IdGenerator(2).next()
    assert await read(service, viewer) == ([], "")
    (post_id,) = write(service, author, 1)
    push = timeline_service_pb2.PushEntriesRequest(entry=timeline_pb2.Entry(post_id=post_id, author_id=author), user_ids=[viewer])
    assert (await service.stub.PushEntries(push, metadata=service.service())).delivered_count == 1
    assert await read(service, viewer) == ([], "")


async def test_only_services_hide_and_mark(service: Timelines, user: int) -> None:
    """Users and nobody are refused and change nothing."""
    (post_id,) = write(service, user + 10**9, 1)
    service.world.edges[user].add(user + 10**9)
    assert await read(service, user) == ([post_id], "")
    hide = Hide(viewer_id=user, author_id=user + 10**9, edge_version=IdGenerator(2).next())
    for request in (hide, Mark(author_id=user, turn=1, user_ids=[user])):
        assert await code_of(service, request, service.user(user)) is grpc.StatusCode.PERMISSION_DENIED
        assert await code_of(service, request, ()) is grpc.StatusCode.UNAUTHENTICATED
    assert await read(service, user) == ([post_id], "")


@pytest.mark.parametrize(
    "request_",
    [
        Hide(author_id=1, edge_version=1),
        Hide(viewer_id=1, edge_version=1),
        Hide(viewer_id=1, author_id=1),
        Mark(turn=1),
        Mark(author_id=1),
        Mark(author_id=1, turn=1, user_ids=[1] * 10_001),
        Explain(user_id=1),
        Explain(post_id=1),
    ],
    ids=lambda request: f"{type(request).__name__}-{len(request.ListFields())}",
)
async def test_wrong_requests_are_refused(service: Timelines, request_: Message) -> None:
    """What is needed and missing, or too much, is INVALID_ARGUMENT."""
    assert await code_of(service, request_, service.service()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_user_asks_about_the_own_feed_only(service: Timelines, users: Iterator[int]) -> None:
    """A user may name oneself or nobody, not somebody else; nobody may ask nothing."""
    viewer, other = next(users), next(users)
    (post_id,) = write(service, viewer, 1)
    for request in (Explain(post_id=post_id), Explain(post_id=post_id, user_id=viewer)):
        explanation = await explained(service, request, user=viewer)
        assert (explanation.reason, explanation.in_feed, explanation.user_id) == (timeline_pb2.REASON_OWN, True, viewer)
    wrong = Explain(post_id=post_id, user_id=other)
    assert await code_of(service, wrong, service.user(viewer)) is grpc.StatusCode.PERMISSION_DENIED
    assert await code_of(service, wrong, ()) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_service_is_told_all(service: Timelines, users: Iterator[int]) -> None:
    """A service learns author and delivery; a user the author only, and nothing of a post that is not to be seen."""
    viewer, author, blocker = next(users), next(users), next(users)
    service.world.edges[viewer].add(author)
    service.world.relations[viewer, blocker] = replace(relation_of(follows=False), can_view=False, blocked=True)
    service.ids = IdGenerator(1, lambda: now_ms() - 1_000)
    (shown,), (secret,) = write(service, author, 1), write(service, blocker, 1)
    service.world.stamps |= {shown: PULL, secret: PULL}
    assert await explained(service, Explain(post_id=shown, user_id=viewer)) == timeline_pb2.Explanation(
        post_id=shown,
        user_id=viewer,
        in_feed=True,
        reason=timeline_pb2.REASON_REBUILT,
        description=Reason.REBUILT.value,
        author_id=author,
        delivery=PULL,
    )
    to_service = await explained(service, Explain(post_id=secret, user_id=viewer))
    assert (to_service.reason, to_service.author_id, to_service.delivery) == (timeline_pb2.REASON_BLOCKED, blocker, PULL)
    to_user = await explained(service, Explain(post_id=shown), user=viewer)
    assert (to_user.author_id, to_user.delivery) == (author, delivery_pb2.DELIVERY_UNSPECIFIED)
    nothing = timeline_pb2.Explanation(
        post_id=secret, user_id=viewer, reason=timeline_pb2.REASON_NOT_VISIBLE, description=Reason.NOT_VISIBLE.value
    )
    assert await explained(service, Explain(post_id=secret), user=viewer) == nothing


async def test_what_was_deleted_and_what_never_was_look_alike_to_users(service: Timelines, users: Iterator[int]) -> None:
    """A user cannot tell a deleted post, a secret one and none apart; a service can."""
    viewer, author = next(users), next(users)
    service.world.edges[viewer].add(author)
    (deleted,) = write(service, author, 1)
    service.world.remove(deleted)
    answers = []
    for post_id, reason in ((deleted, timeline_pb2.REASON_DELETED), (deleted + 1, timeline_pb2.REASON_NOT_FOUND)):
        assert (await explained(service, Explain(post_id=post_id, user_id=viewer))).reason == reason
        answer = await explained(service, Explain(post_id=post_id), user=viewer)
        answer.ClearField("post_id")
        answers.append(answer)
    assert answers[0] == answers[1]
    assert answers[0].reason == timeline_pb2.REASON_NOT_VISIBLE


def test_every_reason_is_in_the_contract() -> None:
    """The contract names the same reasons, and shows a sentence for each."""
    assert {f"REASON_{reason.name}" for reason in Reason} == {*timeline_pb2.Reason.keys()} - {"REASON_UNSPECIFIED"}
    assert len({reason.value for reason in Reason}) == len(Reason)
