"""Home timelines in a store, made and read in one line."""

from array import array

from tests.timeline.home import complete
from timeline_svc.packed import Entry, Window
from timeline_svc.ports import HomeWindow
from timeline_svc.redis_store import RedisTimelineStore
from timeline_svc.segment import Segment
from timeline_svc.sources import Sources

# Two authors whose posts are in the timelines.
AUTHOR, OTHER = 7, 8
# What a read finds where there is nothing.
NONE = HomeWindow(None, Sources())


async def ready(store: RedisTimelineStore, user: int, *post_ids: int, floor: int = 0) -> None:
    """Make a timeline of the author's posts."""
    await store.begin_home(user)
    assert await complete(store, user, [Entry(post_id, AUTHOR) for post_id in post_ids], floor)


async def window_of(store: RedisTimelineStore, user: int) -> Window:
    """Read a timeline that exists, whole."""
    window = (await store.read_home(user, None)).window
    assert window is not None
    assert window.whole
    return window


async def ids_of(store: RedisTimelineStore, user: int) -> list[int]:
    """Read a timeline's post ids, oldest first."""
    return list((await window_of(store, user)).post_ids)


def segment_of(home: HomeWindow, upper: int, *post_ids: int, floor: int = 0) -> Segment:
    """Make a segment of the author's posts below a timeline as it was read."""
    return Segment(home.sources.stamp, upper, floor, array("Q", post_ids), array("Q", [AUTHOR] * len(post_ids)))
