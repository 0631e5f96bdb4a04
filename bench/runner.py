"""Running figures: each by itself, so that one that cannot be measured does not take the others with it."""

import asyncio
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
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
        with tempfile.TemporaryDirectory(prefix="feedmesh-bench-") as folder:
            async with running_rig(Path(folder)) as rig, Crowd.of(rig) as crowd:
                outcome.machine = await machine(rig) | {"smoke": sizes.smoke, "rounds": sizes.rounds}
                bench = Bench(rig, crowd, sizes.rounds, sizes.seconds, sizes.smoke)
                for name, measuring in group.items():
                    await measure(name, measuring, bench, outcome)
    return outcome


async def measure(name: str, measuring: Measuring, bench: Bench, outcome: Outcome) -> None:
    """Measure what stands under one name; where it fails, say why, and note it."""
    began = time.monotonic()
    (failure,) = await asyncio.gather(_collect(name, measuring, bench, outcome), return_exceptions=True)
    if failure:
        outcome.failed.append(name)
        say("".join(traceback.format_exception(failure)))
    say(f"{name}: {'failed' if failure else 'done'} after {time.monotonic() - began:.1f} s")


async def _collect(name: str, measuring: Measuring, bench: Bench, outcome: Outcome) -> None:
    before = len(outcome.figures)
    async with asyncio.timeout(_PATIENCE_S):
        async for made in measuring(bench):
            if isinstance(made, Curve):
                outcome.curves.append(made)
                continue
            say(f"{made.name}: {made.value:.4g} {made.unit}, {made.ratio:.3g} of the reference")
            outcome.figures.append(made)
    if len(outcome.figures) == before:
        raise ValueError(f"{name} gave no figure")
