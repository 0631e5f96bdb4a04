"""Why a post is in a feed, or is not: every reason, and what of it the user may know."""

from dataclasses import replace

import pytest

from meshkit.clock import now_ms
from meshkit.ids import IdGenerator, first_id_at
from tests.timeline.home import Home, fill, relation_of
from tests.timeline.turning import Mode, Turning
from timeline_svc import pulled
from timeline_svc.explain import SECRET, SHOWN, Explanation, Reason
from timeline_svc.packed import Entry
from timeline_svc.ports import PostFacts
from timeline_svc.redis_store import HOME_CAP

STRANGER = relation_of(follows=False)


async def reason_of(home: Home, viewer: int, post_id: int) -> Reason:
    """Explain, check that the feed says the same, and give the reason."""
    explained = await home.explainer.explain(viewer, post_id)
    assert (explained.reason in SHOWN) is (post_id in await home.walk(viewer))
    return explained.reason


async def test_the_users_own(home: Home) -> None:
    """A user's own post is so, in the timeline, pushed late, or below it."""
    viewer, _ = home.community(0)
    old = home.commit(viewer)
    for _ in range(HOME_CAP):
        home.commit(viewer)
    await home.page(viewer)
    assert await reason_of(home, viewer, old) is Reason.OWN
    new = home.commit(viewer)
    assert await reason_of(home, viewer, new) is Reason.ON_ITS_WAY
    await home.deliver(new, viewer)
    assert await reason_of(home, viewer, new) is Reason.OWN


async def test_pushed_and_rebuilt(home: Home) -> None:
    """What was written before the timeline was made is rebuilt; what came after it is on its way, then pushed."""
    viewer, (author, _) = home.community(2)
    before = first_id_at(now_ms() - 1_000)
    home.world.add(before, author)
    await home.page(viewer)
    after = home.commit(author)
    assert await reason_of(home, viewer, after) is Reason.ON_ITS_WAY
    await home.deliver(after, author)
    assert [await reason_of(home, viewer, post_id) for post_id in (before, after)] == [Reason.REBUILT, Reason.PUSHED]


async def test_older_than_the_timeline(home: Home) -> None:
    """What lies below the timeline's floor is read from the tables; what stands at its floor is not."""
    viewer, authors = home.community(2)
    home.ids = IdGenerator(0, lambda: now_ms() - 1_000)
    ids = fill(home, authors, HOME_CAP + 10)
    assert await reason_of(home, viewer, ids[0]) is Reason.OLDER
    assert [await reason_of(home, viewer, post_id) for post_id in ids[9:11]] == [Reason.OLDER, Reason.REBUILT]


async def test_backfilled(home: Home) -> None:
    """What was written before the user came to follow is backfilled; what came after it is pushed."""
    viewer, _ = home.community(1)
    author = next(home.users)
    await home.page(viewer)
    before = home.commit(author)
    followed = await home.follow(viewer, author)
    home.world.relations[viewer, author] = replace(relation_of(follows=True), edge_version=followed)
    after = await home.publish(author)
    assert [await reason_of(home, viewer, post_id) for post_id in (before, after)] == [Reason.BACKFILLED, Reason.PUSHED]


async def test_pulled(turning: Turning, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pulled author's post is on its way until it is among the recent ones; one far below those is pulled too."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    home = turning.home
    viewer, (author, _) = home.community(2)
    await home.page(viewer)
    await turning.pull(author)
    ids = [await turning.publish(author) for _ in range(150)]
    assert [await reason_of(home, viewer, post_id) for post_id in (ids[0], ids[-1])] == [Reason.PULLED] * 2
    new = turning.commit(author)
    assert (await home.explainer.explain(viewer, new)).reason is Reason.ON_ITS_WAY
    await turning.plan(new, author)
    assert await reason_of(home, viewer, new) is Reason.PULLED
    explained = await home.explainer.explain(viewer, new)
    assert explained.post == PostFacts(author, Mode.PULL.value, deleted=False)


async def test_a_change_that_the_timeline_was_not_told_yet(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the timeline still hides somebody who is followed again, posts are on their way, whether pushed or pulled."""
    monkeypatch.setattr(pulled, "_SECONDS", 0)
    viewer, (author, _) = home.community(2)
    await home.page(viewer)
    await home.unfollow(viewer, author)
    home.world.edges[viewer].add(author)
    late = home.commit(author)
    await home.store.push_home(Entry(late, author), [viewer])
    assert await reason_of(home, viewer, late) is Reason.ON_ITS_WAY
    await home.store.mark_pulled(author, 1, [viewer])
    recent = home.commit(author)
    await home.delivery.push_own([Entry(recent, author)])
    assert await reason_of(home, viewer, recent) is Reason.ON_ITS_WAY


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        (STRANGER, Reason.NOT_FOLLOWING),
        (replace(STRANGER, muted=True), Reason.NOT_FOLLOWING),
        (replace(STRANGER, following=True, edge_version=1, muted=True), Reason.MUTED),
        (replace(STRANGER, can_view=False), Reason.PRIVATE),
        (replace(STRANGER, can_view=False, requested=True), Reason.REQUESTED),
        (replace(STRANGER, can_view=False, blocking=True), Reason.BLOCKED),
        (replace(STRANGER, can_view=False, blocked=True, requested=True), Reason.BLOCKED),
    ],
)
async def test_what_keeps_an_author_out(home: Home, relation: object, reason: Reason) -> None:
    """Whatever stands between the two is the reason, the strongest first."""
    viewer, _ = home.community(0)
    author = next(home.users)
    home.world.relations[viewer, author] = relation  # type: ignore[assignment]
    assert await reason_of(home, viewer, home.commit(author)) is reason


async def test_deleted_and_never_there(home: Home) -> None:
    """A deleted post, of whomever, is told from one that never was."""
    viewer, (author, _) = home.community(2)
    post_id = await home.publish(author)
    home.delete(post_id)
    assert await home.explainer.explain(viewer, post_id) == Explanation(Reason.DELETED, PostFacts(author, 1, deleted=True))
    assert await home.explainer.explain(viewer, home.ids.next()) == Explanation(Reason.NOT_FOUND, None)


@pytest.mark.parametrize("reason", Reason)
def test_a_user_learns_nothing_of_what_is_not_to_be_seen(reason: Reason) -> None:
    """Reasons that tell of others' decisions, or that a post was there, all look alike to a user, and carry no author."""
    explained = Explanation(reason, PostFacts(7, 1, deleted=False)).for_the_user()
    hidden = {Reason.DELETED, Reason.REQUESTED, Reason.BLOCKED, Reason.PRIVATE, Reason.NOT_FOUND}
    assert hidden == SECRET
    assert (explained == Explanation(Reason.NOT_VISIBLE, None)) is (reason in hidden)
