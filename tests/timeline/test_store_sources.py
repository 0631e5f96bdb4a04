"""What every server that keeps timelines has to do with authors who come into a feed, leave it, or are pulled."""

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from tests.timeline.home import complete
from tests.timeline.windows import AUTHOR, NONE, OTHER, ids_of, ready, segment_of
from timeline_svc.packed import Entry, State
from timeline_svc.redis_store import RedisTimelineStore, home_key, sources_key


async def marks_of(store: RedisTimelineStore, user: int) -> dict[int, int]:
    """Read whom a timeline has marked as pulled, with their turns."""
    return dict((await store.read_home(user, 20)).sources.marks)


async def test_an_author_who_left_goes_and_stays_hidden(store: RedisTimelineStore, user: int) -> None:
    """The author's entries are removed, one that comes late is named hidden, and others stay."""
    await ready(store, user, 10, 20)
    await store.push_home(Entry(15, OTHER), [user])
    assert await store.note_source(user, AUTHOR, 100, came=False) == 0
    await store.push_home(Entry(30, AUTHOR), [user])
    home = await store.read_home(user, None)
    assert home.window is not None
    assert list(home.window.post_ids) == [15, 30]
    assert (home.sources.hidden, home.sources.oldest_change) == (frozenset({AUTHOR}), 100)


async def test_a_merge_brings_nothing_of_hidden_authors(store: RedisTimelineStore, user: int) -> None:
    """What was pulled before an author left and is merged after it leaves the author out."""
    await ready(store, user)
    await store.note_source(user, AUTHOR, 100, came=False)
    await complete(store, user, [Entry(10, AUTHOR), Entry(20, OTHER)], 0)
    await store.add_home(user, [Entry(30, AUTHOR), Entry(40, OTHER)], 0)
    assert await ids_of(store, user) == [20, 40]


async def test_coming_again_shows_again(store: RedisTimelineStore, user: int) -> None:
    """A newer change lifts the hiding: what is pushed and merged then stays."""
    await ready(store, user)
    await store.note_source(user, AUTHOR, 100, came=False)
    assert await store.note_source(user, AUTHOR, 101, came=True) == 0
    await store.push_home(Entry(10, AUTHOR), [user])
    await store.add_home(user, [Entry(5, AUTHOR)], 0)
    home = await store.read_home(user, None)
    assert home.window is not None
    assert (list(home.window.post_ids), home.sources.hidden, home.sources.oldest_change) == ([5, 10], frozenset(), 101)


@pytest.mark.parametrize("came", [True, False])
async def test_an_older_change_is_ignored(store: RedisTimelineStore, redis: Redis, user: int, came: bool) -> None:  # noqa: FBT001
    """A change that a newer one of the same author has overtaken does nothing; other authors have their own versions."""
    await ready(store, user, 10)
    newest = 2**63 + 1
    await store.note_source(user, AUTHOR, newest, came=came)
    before = await redis.get(home_key(user)), await redis.hgetall(sources_key(user))
    assert await store.note_source(user, AUTHOR, newest - 1, came=not came, turn=1) is None
    assert (await redis.get(home_key(user)), await redis.hgetall(sources_key(user))) == before
    assert await store.note_source(user, OTHER, 1, came=True) == 0


async def test_a_repeated_change_is_applied_again(store: RedisTimelineStore, user: int) -> None:
    """The same change once more is not outdated: its first try may have ended half way."""
    await ready(store, user)
    answers = [await store.note_source(user, AUTHOR, 100, came=True) for _ in range(2)]
    assert answers == [0, 0]


async def test_without_a_timeline_nothing_is_noted(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """Changes, marks and what is settled leave nothing where there is no timeline: a rebuild asks for all of it."""
    assert await store.note_source(user, AUTHOR, 100, came=False) is None
    assert await store.note_source(user, OTHER, 100, came=True, turn=1) is None
    assert await store.mark_pulled(AUTHOR, 1, [user]) == 0
    await store.unmark_pulled(user, {AUTHOR: 1})
    await store.settle(user, 101)
    assert await store.read_home(user, None) == NONE
    assert not await redis.exists(sources_key(user))


@pytest.mark.parametrize("lost", [home_key, sources_key])
async def test_one_half_without_the_other_is_no_timeline(
    store: RedisTimelineStore, redis: Redis, user: int, lost: Callable[[int], str]
) -> None:
    """A timeline without what stands beside it, and the reverse, is missing; it is begun anew, of another generation."""
    await ready(store, user, 10)
    generation = await store.begin_home(user)
    await redis.delete(lost(user))
    assert (await store.read_home(user, None)).window is None
    assert not await store.complete_home(user, generation, [Entry(10, AUTHOR)], 0, marks={}, left={})
    assert (await store.read_home(user, None)).window is None
    assert await store.begin_home(user) != generation
    home = await store.read_home(user, None)
    assert home.window is not None
    assert (home.window.state, list(home.window.post_ids)) == (State.REBUILDING, [])


async def test_a_timeline_of_another_generation_than_its_record_is_none(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """A record that stood beside an earlier timeline says nothing of this one."""
    await ready(store, user, 10)
    record = await redis.hget(sources_key(user), "record")
    await redis.delete(home_key(user), sources_key(user))
    await ready(store, user, 10)
    await redis.hset(sources_key(user), "record", record)
    assert (await store.read_home(user, None)).window is None


async def test_a_new_timeline_knows_nothing_of_the_one_before(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """What was noted beside a timeline that is lost does not hide whoever came back meanwhile, nor mark anybody."""
    await ready(store, user, 10)
    await store.mark_pulled(OTHER, 1, [user])
    await store.note_source(user, AUTHOR, 100, came=False)
    await redis.delete(home_key(user))
    assert await store.note_source(user, AUTHOR, 101, came=True) is None
    await ready(store, user, 10)
    home = await store.read_home(user, None)
    assert (home.sources.hidden, home.sources.marks, await ids_of(store, user)) == (frozenset(), {}, [10])


async def test_settling_forgets_old_changes_with_what_they_hid(store: RedisTimelineStore, user: int) -> None:
    """Notes below the version go, and with them late entries of authors they hid; newer notes and other entries stay."""
    await ready(store, user)
    await store.note_source(user, AUTHOR, 100, came=False)
    await store.note_source(user, OTHER, 200, came=False)
    await store.note_source(user, 9, 99, came=True)
    for post_id, author in ((10, AUTHOR), (20, OTHER), (30, 9)):
        await store.push_home(Entry(post_id, author), [user])
    await store.settle(user, 101)
    home = await store.read_home(user, None)
    assert home.window is not None
    assert (list(home.window.post_ids), home.sources.hidden, home.sources.oldest_change) == ([20, 30], frozenset({OTHER}), 200)


async def test_a_late_mark_goes_with_the_note_that_hid_it(store: RedisTimelineStore, user: int) -> None:
    """An author who left before the mark came is not pulled once the note is forgotten; others stay marked."""
    await ready(store, user)
    await store.note_source(user, AUTHOR, 100, came=False)
    await store.note_source(user, OTHER, 100, came=True)
    for author in (AUTHOR, OTHER):
        await store.mark_pulled(author, 1, [user])
    assert (await store.read_home(user, None)).sources.hidden == {AUTHOR}
    await store.settle(user, 101)
    home = await store.read_home(user, None)
    assert (home.sources.hidden, home.sources.marks) == (frozenset(), {OTHER: 1})


async def test_marks_keep_the_latest_turn(store: RedisTimelineStore, user: int) -> None:
    """Marks may come again and in any order; the latest turn stays, and only one as late takes the mark away."""
    await ready(store, user)
    for author, turn in ((AUTHOR, 2), (OTHER, 2**32 - 1), (AUTHOR, 3), (AUTHOR, 1)):
        assert await store.mark_pulled(author, turn, [user]) == 1
    await store.complete_home(user, await store.begin_home(user), [], 0, marks={AUTHOR: 1, 9: 4}, left={})
    assert await marks_of(store, user) == {AUTHOR: 3, OTHER: 2**32 - 1, 9: 4}
    await store.unmark_pulled(user, {AUTHOR: 2, OTHER: 2**32 - 1, 10: 5})
    assert await marks_of(store, user) == {AUTHOR: 3, 9: 4}
    await store.unmark_pulled(user, {AUTHOR: 3})
    assert await marks_of(store, user) == {9: 4}


async def test_marks_stay_until_what_hides_their_author_is_forgotten(store: RedisTimelineStore, user: int) -> None:
    """An author who leaves keeps the mark as long as the note, which hides both; one who comes with a turn gets it."""
    await ready(store, user)
    await store.mark_pulled(AUTHOR, 1, [user])
    await store.note_source(user, AUTHOR, 100, came=False)
    await complete_marked(store, user, {OTHER: 2})
    home = await store.read_home(user, None)
    assert (home.sources.marks, home.sources.hidden) == ({AUTHOR: 1, OTHER: 2}, frozenset({AUTHOR}))
    await store.settle(user, 101)
    assert await marks_of(store, user) == {OTHER: 2}
    await store.note_source(user, AUTHOR, 102, came=True, turn=3)
    assert await marks_of(store, user) == {AUTHOR: 3, OTHER: 2}


async def complete_marked(store: RedisTimelineStore, user: int, marks: dict[int, int]) -> None:
    """Complete a timeline with marks and no entries."""
    assert await store.complete_home(user, await store.begin_home(user), [], 0, marks=marks, left={})


async def test_who_left_lately_is_hidden_by_the_rebuild(store: RedisTimelineStore, user: int) -> None:
    """A rebuild notes who left, so that late pushes and marks are hidden, unless a newer change is noted by then."""
    generation = await store.begin_home(user)
    await store.note_source(user, OTHER, 101, came=True)
    entries = [Entry(10, AUTHOR), Entry(20, OTHER)]
    left = {AUTHOR: 100, OTHER: 100}
    assert await store.complete_home(user, generation, entries, 0, marks={AUTHOR: 1, OTHER: 1}, left=left)
    await store.mark_pulled(AUTHOR, 2, [user])
    home = await store.read_home(user, None)
    assert home.window is not None
    assert (list(home.window.post_ids), home.sources.hidden, home.sources.oldest_change) == ([20], frozenset({AUTHOR}), 100)


async def test_a_segment_is_read_with_all_of_the_timeline(store: RedisTimelineStore, user: int) -> None:
    """A segment comes with a read of the whole timeline as it was kept, the latest in the place of earlier ones."""
    await ready(store, user, 30)
    home = await store.read_home(user, None)
    assert home.segment is None
    for segment in (segment_of(home, 30, 1, 2), segment_of(home, 2**64 - 1, 2**53 + 1, 2**63, floor=2**53 + 1)):
        await store.keep_segment(user, segment)
        assert (await store.read_home(user, None)).segment == segment
    assert (await store.read_home(user, 20)).segment is None


async def test_a_stamp_changes_when_somebody_comes(store: RedisTimelineStore, redis: Redis, user: int) -> None:
    """What was put together before an author came, or for an earlier timeline, is known by its stamp; marks and leaving keep it."""
    await ready(store, user)
    stamps = []
    for change in (
        store.note_source(user, AUTHOR, 100, came=True),
        store.note_source(user, OTHER, 100, came=True, turn=1),
        redis.delete(home_key(user)),
    ):
        stamps.append((await store.read_home(user, None)).sources.stamp)
        await change
    await ready(store, user)
    stamps.append((await store.read_home(user, None)).sources.stamp)
    assert len(set(stamps)) == len(stamps)
    await store.note_source(user, AUTHOR, 101, came=False)
    await store.mark_pulled(OTHER, 2, [user])
    await store.unmark_pulled(user, {OTHER: 2})
    assert (await store.read_home(user, None)).sources.stamp == stamps[-1]
