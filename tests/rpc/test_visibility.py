"""Who may see whose posts, as other services ask over gRPC."""

import grpc
from feed.graph.v1 import visibility_service_pb2 as pb

from tests.rpc.client import refused
from tests.rpc.conftest import People
from tests.rpc.follow_calls import Graph

CODE = grpc.StatusCode
ABSENT_ID = 2**63 + 1


async def test_a_relation_tells_what_stands(follows: Graph, people: People) -> None:
    """Each fact between two shows in the relation as it is made and ended, in the right direction."""
    ada, bob = await people.ids(2)
    strangers = await follows.relation(ada, bob)
    assert (strangers.can_view, strangers.in_feed, strangers.following, strangers.follow_id) == (True, False, False, 0)
    await follows.follow(ada, bob)
    await follows.mute(ada, bob)
    await follows.set_private(bob, private=True)
    there, back = await follows.relation(ada, bob), await follows.relation(bob, ada)
    assert (there.following, there.muted, there.author_private, there.can_view, there.in_feed) == (True, True, True, True, False)
    assert (back.following, back.muted, back.author_private, back.can_view) == (False, False, False, True)
    await follows.unmute(ada, bob)
    fed = await follows.relation(ada, bob)
    assert (fed.in_feed, fed.follow_id) == (True, there.follow_id)
    await follows.unfollow(ada, bob)
    await follows.follow(ada, bob)
    asking = await follows.relation(ada, bob)
    assert (asking.requested, asking.following, asking.follow_id, asking.can_view) == (True, False, 0, False)
    await follows.block(ada, bob)
    there, back = await follows.relation(ada, bob), await follows.relation(bob, ada)
    assert (there.blocking, there.blocked, there.requested, there.can_view) == (True, False, False, False)
    assert (back.blocking, back.blocked, back.can_view) == (False, True, False)
    await follows.unblock(ada, bob)
    assert not (await follows.relation(ada, bob)).blocking


async def test_a_follow_id_says_since_when(follows: Graph, people: People) -> None:
    """The id of an edge does not change by a mute, and is larger when the edge comes again."""
    ada, bob = await people.ids(2)
    await follows.follow(ada, bob)
    first = (await follows.relation(ada, bob)).follow_id
    for change in (follows.mute, follows.unmute):
        await change(ada, bob)
        assert (await follows.relation(ada, bob)).follow_id == first > bob
    await follows.unfollow(ada, bob)
    await follows.follow(ada, bob)
    assert (await follows.relation(ada, bob)).follow_id > first


async def test_one_sees_oneself(follows: Graph, people: People) -> None:
    """A private author sees the own posts, and has them in the own feed."""
    (ada,) = await people.ids(1)
    await follows.set_private(ada, private=True)
    own = await follows.relation(ada, ada)
    assert (own.can_view, own.in_feed, own.author_private, own.following) == (True, True, True, False)
    assert await follows.visible(ada, [ada]) == [ada]


async def test_visible_authors_are_those_that_may_be_seen(follows: Graph, people: People) -> None:
    """Of all kinds of authors exactly those are given that each relation allows, in the order asked for."""
    ada, public, blocking, blocked, private, asked, followed, muted = await people.ids(8)
    await follows.follow(ada, followed)
    for author in (private, asked, followed):
        await follows.set_private(author, private=True)
    await follows.follow(ada, asked)
    await follows.mute(ada, muted)
    await follows.block(ada, blocked)
    await follows.block(blocking, ada)
    authors = [muted, ABSENT_ID, asked, public, ada, blocking, followed, blocked, private, muted]
    visible = await follows.visible(ada, authors)
    assert visible == [muted, ABSENT_ID, public, ada, followed, muted]
    assert visible == [author for author in authors if (await follows.relation(ada, author)).can_view]
    assert await follows.visible(ada, []) == []
    assert await follows.visible(ABSENT_ID, [public, private]) == [public]


async def test_every_follower_finds_out_that_an_account_is_private(follows: Graph, people: People) -> None:
    """Whoever looks, in whichever shard, an account is private from the flip on, and public again from the next one on."""
    star, *viewers = await people.ids(60)
    for private in (True, False):
        await follows.set_private(star, private=private)
        assert {(await follows.relation(viewer, star)).can_view for viewer in viewers} == {not private}


async def test_a_hundred_authors_can_be_asked_for(follows: Graph) -> None:
    """One call takes 100 authors and no more, and both ids of a relation are required."""
    hundred = list(range(1, 101))
    assert await follows.visible(7, hundred) == hundred
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "author_ids"):
        await follows.visible(7, [*hundred, 101])
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "viewer_id"):
        await follows.visible(0, hundred)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "viewer_id", "author_id"):
        await follows.relation(0, 0)


async def test_only_services_ask_who_sees_whom(follows: Graph) -> None:
    """A user is refused: what others block is nobody's business."""
    user, calls = follows.tokens.user(7), follows.stubs.visibility
    for call in (
        calls.GetRelation(pb.GetRelationRequest(viewer_id=7, author_id=8), metadata=user),
        calls.ListVisibleAuthors(pb.ListVisibleAuthorsRequest(viewer_id=7, author_ids=[8]), metadata=user),
    ):
        with refused(CODE.PERMISSION_DENIED, "SERVICES_ONLY"):
            await call
