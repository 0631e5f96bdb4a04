"""`python -m tests.chaos`: the ledger. It ends with 1 when anything is not as promised, or a seeded bug is not noticed."""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.community import size_for
from tests.chaos.mutants import source_tree
from tests.chaos.mutation import Verdict, chosen, try_mutant
from tests.chaos.nemesis import faults_for, shuffled
from tests.chaos.network import enter_own, is_own, prepare_own
from tests.chaos.report import report, report_mutant, say, summary
from tests.chaos.run import Result, Scene, run

_ROOT = Path(__file__).resolve().parents[2]
# A run takes five minutes at most; on real engines making the community takes a third of that.
_SECONDS = {"embedded": 115.0, "real": 90.0}


def main() -> int:
    """Run, and give the exit code."""
    options = _parser().parse_args()
    if options.engines == "real":
        enter_own()
    if is_own():
        prepare_own()
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    say(f"seed {seed}, {options.engines} engines")
    with _folder(options.data_dir) as folder:
        result = None if options.only_mutants else asyncio.run(_main_run(options, seed, folder))
        verdicts = list(_try_all(options, seed))
    say(summary(seed, options.engines, result, verdicts))
    sound = result is None or not result.findings.differences
    return 0 if sound and all(verdict.as_it_must_be for verdict in verdicts) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="replays the plan and the faults of a run; else one is drawn and printed")
    parser.add_argument("--engines", choices=["embedded", "real"], default="embedded")
    parser.add_argument("--users", type=int, default=2_000, help="how many; at least 50 [2000]")
    parser.add_argument("--posts", type=int, default=10_000, help="at least so many are made [10000]")
    parser.add_argument("--seconds", type=float, help="how long load and faults go on [115; 90 on real engines]")
    parser.add_argument("--faults", default="all", help="all, none, or names separated by commas, in this order")
    parser.add_argument("--mutants", default="all", help="all, none, or names separated by commas")
    parser.add_argument("--only-mutants", action="store_true", help="leave the main run out")
    parser.add_argument("--data-dir", type=Path, help="a folder for log, source and data of the main run, which is kept")
    return parser


async def _main_run(options: argparse.Namespace, seed: int, folder: Path) -> Result:
    size = size_for(options.users, options.posts, options.seconds or _SECONDS[options.engines], options.engines)
    if options.faults == "all":
        faults: Sequence[str] = shuffled(faults_for(options.engines, cuts=is_own()), seed)
        if options.engines == "real" and not is_own():
            say("left out: cutting off ports; it needs `unshare`, `ip`, and a kernel that grants a network namespace")
    else:
        faults = [name for name in options.faults.split(",") if name != "none"]
    tree = await asyncio.to_thread(source_tree, _ROOT, folder / "tree")
    result = await run(Scene(seed, size, tree, folder, options.engines, faults))
    report(result)
    return result


def _try_all(options: argparse.Namespace, seed: int) -> Iterator[Verdict]:
    for mutant in chosen(options.mutants, options.engines):
        verdict = asyncio.run(try_mutant(mutant, seed, _ROOT, options.engines))
        report_mutant(verdict)
        yield verdict


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Give a folder: one that is kept, or a temporary one."""
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with TemporaryDirectory(prefix="feedmesh-chaos-", ignore_cleanup_errors=True) as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
