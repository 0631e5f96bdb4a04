"""`python -m bench`: measures how close the mesh comes to what the machine can do, and how its cost grows."""

import argparse
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvloop

from bench import cold, deep, fanout, followers, grow, latency, read, write
from bench.bench import Bench
from bench.crowd import Crowd
from bench.figure import Figure
from bench.report import say, show, write_results
from bench.rig import running_rig

Measuring = Callable[[Bench], AsyncIterator[Figure]]
FIGURES: dict[str, Measuring] = {
    "read.rpc": read.rpc,
    "read.rest": read.rest,
    "write.rate": write.rate,
    "read.cold.posts": cold.posts,
    "read.cold.timeline": cold.timeline,
    "read.p99": latency.reads,
    "visible.p99": latency.visible,
    "grow.followees": grow.followees,
    "grow.celebrities": grow.celebrities,
    "grow.deep": deep.to_the_end,
    "fanout.rate": fanout.rate,
    "fanout.sorted_set": fanout.sorted_set,
    "fanout.million": fanout.million,
    "grow.followers": followers.grow,
}
_OUT = Path(__file__).parent / "out"


def main() -> None:
    """Measure, and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help="figures whose names begin so, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is measured [5]")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each load lasts [2]")
    parser.add_argument("--smoke", action="store_true", help="only see whether everything can be measured, in a minute")
    options = parser.parse_args()
    names = [name for name in FIGURES if name.startswith(tuple(options.only.split(",")))]
    if not names:
        parser.error(f"there is no such figure: {options.only}; there are {', '.join(FIGURES)}")
    rounds, seconds = (1, 0.3) if options.smoke else (options.rounds, options.seconds)
    figures = uvloop.run(_measure(names, rounds, seconds, smoke=options.smoke))
    show(figures)
    write_results(figures, _OUT)


async def _measure(names: list[str], rounds: int, seconds: float, *, smoke: bool) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="feedmesh-bench-") as folder:
        async with running_rig(Path(folder)) as rig, Crowd.of(rig) as crowd:
            for name in names:
                async for figure in FIGURES[name](Bench(rig, crowd, rounds, seconds, smoke)):
                    say(f"{figure.name}: {figure.value:.4g} {figure.unit}, {figure.ratio:.3g} of the reference")
                    figures.append(figure)
    return figures


if __name__ == "__main__":
    main()
