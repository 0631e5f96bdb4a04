"""Which figures the bench measures, and what it says of those that fail."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from bench.__main__ import READS, WRITES
from bench.figure import Curve, Figure, Goal
from bench.runner import Outcome, chosen, collect

# What is promised to be measured.
PROMISED = (
    "read.rpc",
    "read.rest",
    "read.cold",
    "read.p99",
    "fanout.rate",
    "fanout.sorted_set",
    "fanout.million",
    "visible.p99",
    "write.rate",
    "memory",
    "grow.followees",
    "grow.celebrities",
    "grow.followers",
    "peer.sql",
)
NAMES = ["read.rpc", "read.rest", "grow.followees", "grow.followers"]
FIGURE = Figure("a", "B", Goal.at_most(1), values=[1], references=[1])
CURVE = Curve("a", "x", "y", [(1, 1)])


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("", NAMES),
        ("read", ["read.rpc", "read.rest"]),
        ("grow.followers, read.rpc", ["read.rpc", "grow.followers"]),
        ("grow.follow", ["grow.followees", "grow.followers"]),
    ],
)
def test_figures_are_chosen_by_prefix(only: str, names: list[str]) -> None:
    """Prefixes choose figures, in the order in which they are measured; nothing chooses all."""
    assert chosen(only, NAMES) == names


@pytest.mark.parametrize("only", ["write", "read,write", "rpc"])
def test_a_prefix_that_fits_no_figure_is_refused(only: str) -> None:
    """Who asks for a figure that is not there is told so, instead of getting the others."""
    with pytest.raises(ValueError, match="no such figure"):
        chosen(only, NAMES)


def test_all_that_is_promised_is_measured() -> None:
    """Each promised figure is measured, and none in two groups."""
    assert not READS.keys() & WRITES.keys()
    for name in PROMISED:
        assert chosen(name, [*READS, *WRITES])


async def good() -> AsyncIterator[Figure | Curve]:
    """Give a figure and a curve."""
    yield FIGURE
    yield CURVE


async def broken() -> AsyncIterator[Figure | Curve]:
    """Fail after a figure."""
    yield FIGURE
    raise OSError("no engine")


async def crowded() -> AsyncIterator[Figure | Curve]:
    """Fail in many ways at once."""
    yield FIGURE
    raise ExceptionGroup("many", [OSError(f"no engine {number}") for number in range(50)])


async def empty() -> AsyncIterator[Figure | Curve]:
    """Give no figure."""
    yield CURVE


async def endless() -> AsyncIterator[Figure | Curve]:
    """Never come to an end."""
    yield FIGURE
    await asyncio.Event().wait()


async def test_what_is_made_is_kept() -> None:
    """Figures and curves are kept apart, and nothing failed."""
    outcome = Outcome()
    await collect("a", good(), outcome)
    assert (outcome.figures, outcome.curves, outcome.failed) == ([FIGURE], [CURVE], [])


async def test_many_failures_are_told_shortly(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a group of failures the first is told, and how many more there are."""
    await collect("bad", crowded(), Outcome())
    said = capsys.readouterr().out
    assert "no engine 0" in said
    assert "and 49 more exceptions" in said
    assert "no engine 1" not in said


@pytest.mark.parametrize(
    ("made", "reason"), [(broken, "OSError: no engine"), (empty, "no figure was made"), (endless, "TimeoutError")]
)
async def test_what_fails_is_told(
    made: Callable[[], AsyncIterator[Figure | Curve]], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A measurement that fails, makes no figure or never ends is noted with its reason, and the next is measured all the same."""
    outcome = Outcome()
    await collect("bad", made(), outcome, patience=0.1)
    await collect("a", good(), outcome)
    assert outcome.failed == ["bad"]
    assert outcome.figures[-1] is FIGURE
    said = capsys.readouterr().out
    assert reason in said
    assert "bad: failed after" in said
    assert "a: done after" in said
