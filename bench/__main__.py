"""`python -m bench`: measures how close the mesh comes to what the machine can do, and how its cost grows."""

import argparse
import logging
import sys
import time
from pathlib import Path

import structlog
import uvloop

from bench import cold, deep, fanout, followers, grow, latency, memory, peer, read, write
from bench.plots import draw
from bench.report import say, show, write_results
from bench.runner import Measuring, Sizes, chosen, run

# What only reads, and what leaves much behind: each has a mesh of its own.
READS: dict[str, Measuring] = {
    "read.rpc": read.rpc,
    "read.rest": read.rest,
    "read.cold.posts": cold.posts,
    "read.cold.timeline": cold.timeline,
    "grow.followees": grow.followees,
    "grow.celebrities": grow.celebrities,
    "grow.deep": deep.to_the_end,
    "peer.sql": peer.sql,
}
WRITES: dict[str, Measuring] = {
    "memory": memory.entries,
    "read.p99": latency.reads,
    "visible.p99": latency.visible,
    "fanout.rate": fanout.rate,
    "fanout.sorted_set": fanout.sorted_set,
    "fanout.million": fanout.million,
    "grow.followers": followers.grow,
    "write.rate": write.rate,
}
_OUT = Path(__file__).parent / "out"
_SMOKE = Sizes(rounds=1, seconds=0.3, smoke=True)


def main() -> None:
    """Measure, and say what came out. The exit status tells whether everything was measured, not whether goals were met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help="figures whose names begin so, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is measured [5]")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each load lasts [2]")
    parser.add_argument("--smoke", action="store_true", help="only see whether everything can be measured, in a minute")
    options = parser.parse_args()
    try:
        names = chosen(options.only, [*READS, *WRITES])
    except ValueError as error:
        parser.error(str(error))
    sys.exit(_measure(names, _SMOKE if options.smoke else Sizes(options.rounds, options.seconds, smoke=False)))


def _measure(names: list[str], sizes: Sizes) -> int:
    began = time.monotonic()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    groups = [READS | WRITES] if sizes.smoke else [READS, WRITES]
    wanted = [{name: group[name] for name in names if name in group} for group in groups]
    outcome = uvloop.run(run([group for group in wanted if group], sizes))
    show(outcome.figures, outcome.machine)
    write_results(outcome.figures, outcome.curves, outcome.machine, _OUT)
    draw(outcome.curves, _OUT)
    say(f"{len(outcome.figures)} figures in {time.monotonic() - began:.0f} s are in {_OUT / 'results.json'}")
    if outcome.failed:
        say(f"not measured: {', '.join(outcome.failed)}")
    return int(bool(outcome.failed))


if __name__ == "__main__":
    main()
