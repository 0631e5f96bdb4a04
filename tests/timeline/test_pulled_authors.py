"""Keeping recent posts of pulled authors in the process: for half a second, and read anew before that while asked for."""

import asyncio
from dataclasses import dataclass

import pytest

from meshkit.single_flight import SingleFlight
from tests.timeline.home import Home
from timeline_svc import pulled as pulled_authors
from timeline_svc.pull import Recent
from timeline_svc.pulled import PulledAuthors


@dataclass
class Clock:
    """A clock that stands still unless it is set."""

    now: float = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


async def _posts(pulled: PulledAuthors, author: int) -> list[int]:
    return list((await pulled.recent([author]))[author].post_ids)


async def test_who_is_asked_for_again_is_read_anew_before_it_is_too_old(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second reader gets what is kept at once, and has it read anew for those who come after, who need not wait either."""
    monkeypatch.setattr(pulled_authors, "_AHEAD_SECONDS", 0.3)
    clock, (_, (author,)) = Clock(), home.community(1)
    async with SingleFlight[int, dict[int, Recent]]() as flights:
        pulled = PulledAuthors(home.puller, flights, clock=clock)
        assert await _posts(pulled, author) == []
        post = await home.publish(author)
        clock.now = 0.3
        assert await _posts(pulled, author) == []
        (renewal,) = flights.start([author], home.puller.recent)
        await asyncio.shield(renewal)
        later = await home.publish(author)
        for clock.now in (0.4, 0.7):
            assert await _posts(pulled, author) == [post]
        clock.now = 1.5
        assert await _posts(pulled, author) == [post, later]


async def test_who_was_not_asked_for_again_is_read_when_it_is_too_old(home: Home) -> None:
    """What is older than half a second is never given: it is read again first."""
    clock, (_, (author,)) = Clock(), home.community(1)
    async with SingleFlight[int, dict[int, Recent]]() as flights:
        pulled = PulledAuthors(home.puller, flights, clock=clock)
        assert await _posts(pulled, author) == []
        post = await home.publish(author)
        clock.now = 0.5
        assert await _posts(pulled, author) == [post]
