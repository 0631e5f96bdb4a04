"""The home feed against a brute-force oracle, over random lives of a small community whose authors turn to pull and back."""

from collections.abc import Iterator

import pytest

from tests.timeline.community import CommunityMachine
from tests.timeline.lives import live
from timeline_svc import delivery, feed, older, pull, pulled, rebuild, redis_store

# So small that a short life crosses every boundary. Recent posts of pulled authors are not kept: what is shown is not late.
SMALL = {
    redis_store: {"HOME_CAP": 9, "AUTHOR_CAP": 4},
    rebuild: {"REBUILT_ENTRIES": 9},
    delivery: {"REBUILT_ENTRIES": 9},
    pull: {"RECENT_POSTS": 4, "_FEWEST_POSTS": 2, "_POSTS_PER_CALL": 3},
    pulled: {"_SECONDS": 0},
    older: {"SEGMENT_ENTRIES": 5},
    feed: {"_SPARE": 2, "_NEAR": 3, "_FEW": 1},
}


def test_a_feed_is_what_the_oracle_says(server: str, users: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a community does and whatever is lost, every feed is what edges and posts say, read in pages of any size."""
    for module, values in SMALL.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    live(server, lambda store, redis, run: CommunityMachine(store, redis, run, users), lives=150, steps=40)
