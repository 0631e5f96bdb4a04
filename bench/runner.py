"""Running figures: each by itself, so that one that cannot be measured does not take the others with it."""

import asyncio
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.bench import Bench
from bench.crowd import Crowd
from bench.figure import Curve, Figure
from bench.machine import Machine, machine
from bench.report import say
from bench.rig import running_rig

Measuring = Callable[[Bench], AsyncIterator[Figure | Curve]]
# No figure may take longer, whatever hangs.
_PATIENCE_S = 240.0


@dataclass(slots=True)
class Outcome:
    """What a run brought, and which measurements brought nothing."""

    machine: Machine = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How thoroughly to measure: `rounds` times, `seconds` each."""

    rounds: int
    seconds: float
    smoke: bool


def chosen(only: str, names: Iterable[str]) -> list[str]:
    """Give the names that begin with one of the prefixes, which commas separate. Raises ValueError at one that fits none."""
    known = list(names)
    prefixes = [prefix.strip() for prefix in only.split(",")]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in known):
            raise ValueError(f"there is no such figure: {prefix}; there are {', '.join(known)}")
    return [name for name in known if name.startswith(tuple(prefixes))]


async def run(groups: Sequence[Mapping[str, Measuring]], sizes: Sizes) -> Outcome:
    """Measure each group on a mesh of its own."""
    outcome = Outcome()
    for group in groups:
        await _attempt(f"the mesh for {', '.join(group)}", _on_a_mesh(group, sizes, outcome), outcome)
    return outcome


async def _on_a_mesh(group: Mapping[str, Measuring], sizes: Sizes, outcome: Outcome) -> None:
    with tempfile.TemporaryDirectory(prefix="feedmesh-bench-") as folder:
        async with running_rig(Path(folder)) as rig, Crowd.of(rig) as crowd:
            outcome.machine = await machine(rig) | {"smoke": sizes.smoke, "rounds": sizes.rounds}
            bench = Bench(rig, crowd, sizes.rounds, sizes.seconds, sizes.smoke)
            for name, measuring in group.items():
                await collect(name, measuring(bench), outcome)


async def collect(name: str, made: AsyncIterator[Figure | Curve], outcome: Outcome, patience: float = _PATIENCE_S) -> None:
    """Take what a measurement makes, in at most so many seconds; where it fails, or makes no figure, say why and note its name."""
    await _attempt(name, _take(made, outcome, patience), outcome)


async def _attempt(name: str, work: Coroutine[None, None, None], outcome: Outcome) -> None:
    """Do something, and say how long it took. Whatever goes wrong with it is told, and goes no further."""
    began = time.monotonic()
    (failure,) = await asyncio.gather(work, return_exceptions=True)
    if failure:
        outcome.failed.append(name)
        say(_explained(failure))
    say(f"{name}: {'failed' if failure else 'done'} after {time.monotonic() - began:.1f} s")


async def _take(made: AsyncIterator[Figure | Curve], outcome: Outcome, patience: float) -> None:
    before = len(outcome.figures)
    async with asyncio.timeout(patience):
        async for one in made:
            if isinstance(one, Curve):
                outcome.curves.append(one)
                continue
            say(f"{one.name}: {one.value:.4g} {one.unit}, {one.ratio:.3g} of the reference")
            outcome.figures.append(one)
    if len(outcome.figures) == before:
        raise ValueError("no figure was made")


def _explained(failure: BaseException) -> str:
    """Give a traceback, and of a group only its first: the others mostly say the same."""
    return "".join(traceback.TracebackException.from_exception(failure, max_group_width=1).format()).rstrip()
