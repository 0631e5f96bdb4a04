"""The circuit breaker: when it lets calls through."""

import asyncio

import pytest

from timeline_svc.breaker import Breaker, CircuitOpenError


class Callee:
    """Somebody behind a breaker, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0
        self.fails = True
        self.breaker = Breaker("callee", (OSError,), clock=lambda: self.now)

    def call(self) -> None:
        """Call it, if it is let."""
        with self.breaker.call():
            self.calls += 1
            if self.fails:
                raise OSError

    def calls_after(self, seconds: float, tries: int = 5) -> int:
        """Tell how many of some tries get through after a pause."""
        self.now += seconds
        before = self.calls
        for _ in range(tries):
            with pytest.raises((OSError, CircuitOpenError)):
                self.call()
        return self.calls - before


def test_it_opens_after_failures_in_a_row() -> None:
    """Five failures in a row open it, whatever was before; a success in between begins the count anew."""
    callee = Callee()
    assert callee.calls_after(0, tries=4) == 4
    callee.fails = False
    callee.call()
    callee.fails = True
    assert callee.calls_after(0, tries=20) == 5


def test_probes_come_after_growing_pauses() -> None:
    """While it is open one call gets through after each pause, which doubles from half a second to two."""
    callee = Callee()
    callee.calls_after(0)
    probes = [callee.calls_after(0.25) for _ in range(40)]
    assert [number for number, calls in enumerate(probes) if calls] == [1, 5, 13, 21, 29, 37]
    assert set(probes) == {0, 1}


def test_a_success_closes_it() -> None:
    """When the probe succeeds everybody is let through, and the next failures open it as the first did."""
    callee = Callee()
    callee.calls_after(0)
    assert callee.calls_after(0.5) == 1
    callee.fails = False
    callee.now += 1.0
    for _ in range(10):
        callee.call()
    callee.fails = True
    assert callee.calls_after(0, tries=20) == 5
    assert callee.calls_after(0.5) == 1


async def test_one_probe_at_a_time() -> None:
    """While a probe is under way nobody else is let through; one that is cancelled says nothing, and another one may go."""
    callee = Callee()
    callee.calls_after(0)
    callee.now += 0.5
    begun = asyncio.Event()

    async def probe() -> None:
        with callee.breaker.call():
            begun.set()
            await asyncio.Event().wait()

    probing = asyncio.create_task(probe())
    await begun.wait()
    assert callee.calls_after(10) == 0
    probing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probing
    assert callee.calls_after(0) == 1


def test_only_failures_of_its_kind_count() -> None:
    """What tells nothing about the one called, such as a bug, does not open it."""
    breaker = Breaker("callee", (OSError,))
    for _ in range(10):
        with pytest.raises(ValueError, match="bug"), breaker.call():
            raise ValueError("bug")


def test_late_failures_do_not_lengthen_the_pause() -> None:
    """Calls that began before it opened and fail afterwards leave the pause as it is."""
    callee = Callee()
    late = callee.breaker.call()
    late.__enter__()
    callee.calls_after(0)
    callee.now += 0.4
    late.__exit__(OSError, OSError(), None)
    assert callee.calls_after(0.1) == 1
