"""What every server that keeps timelines has to do with an author's recent posts."""

from array import array
from collections.abc import Iterator

from timeline_svc.packed import SLACK, Entry, State, Window
from timeline_svc.redis_store import AUTHOR_CAP, RedisTimelineStore


async def test_recent_posts_are_only_read_when_ready(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """An author's recent posts are missing, then take pushes, then are ready with all of it."""
    missing, begun, merged = (next(users) for _ in range(3))
    for author in (missing, begun, merged):
        await store.push_own([Entry(10, author)])
    begun_now = await store.begin_authors([begun, merged])
    for author in (begun, merged):
        await store.push_own([Entry(20, author)])
    generations = {merged: begun_now[merged], missing: b"abc"}
    await store.complete_authors(generations, {merged: [30, 10], missing: [10]}, complete_below=100)
    windows = await store.read_authors([missing, begun, merged])
    whole = Window(State.READY, 0, array("Q", [10, 20, 30]), array("Q", [merged] * 3), whole=True, generation=begun_now[merged])
    assert windows == {merged: whole}
    assert await store.read_authors([]) == {}


async def test_recent_posts_know_how_far_down_they_go(store: RedisTimelineStore, users: Iterator[int]) -> None:
    """Fewer posts than were asked for are all; else the floor is the last; and the cap keeps the newest."""
    few, many = next(users), next(users)
    begun_now = await store.begin_authors([few, many])
    newest_first = list(range(AUTHOR_CAP, 0, -1))
    await store.complete_authors(begun_now, {few: newest_first[1:], many: newest_first}, complete_below=AUTHOR_CAP)
    windows = await store.read_authors([few, many])
    assert (windows[few].floor, windows[many].floor) == (0, 1)
    for post_id in range(AUTHOR_CAP + 1, AUTHOR_CAP + 2 * SLACK):
        await store.push_own([Entry(post_id, many)])
        window = (await store.read_authors([many]))[many]
        assert list(window.post_ids) == list(range(window.floor, post_id + 1))
        assert len(window.post_ids) <= AUTHOR_CAP + SLACK
