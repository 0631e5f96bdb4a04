"""Runs mutants: the ledger has to find something wrong with each, and nothing with the source as it is."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.findings import Difference
from tests.chaos.mesh import Engines
from tests.chaos.mutants import CONTROL, MUTANTS, REAL_CONTROL, Mutant, source_tree
from tests.chaos.run import Scene, run

# What has not come by then is lost: the control run shows that sound source is faster. What came back is sent again in 10 s.
_PATIENCE_S = {"embedded": 4.0, "real": 20.0}
# Chunks of three followers are more rows than what stands in for DynamoDB takes at once: posts wait.
_WITHIN_S = {"embedded": 4.0, "real": 15.0}
# There less happens in the same time. A load ends when the bug has shown.
_LONGER = {"embedded": 1, "real": 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: all differences, whether they give it away or not."""

    mutant: Mutant
    differences: Sequence[Difference]
    seconds: float

    @property
    def as_it_must_be(self) -> bool:
        """Whether a bug was caught by what it brings about, or sound source was found to be sound."""
        if self.mutant.is_control:
            return not self.differences
        return any(difference.kind in self.mutant.shows for difference in self.differences)


def chosen(names: str, engines: Engines) -> list[Mutant]:
    """Choose mutants: `all`, `none`, or names separated by commas. Raises KeyError for a name that there is not.

    On real engines `all` are those that show nowhere else: the others are in code that is the same, and take four times as long.
    """
    if names == "none":
        return []
    control = REAL_CONTROL if engines == "real" else CONTROL
    possible = [control, *(mutant for mutant in MUTANTS if engines == "real" or not mutant.real)]
    if names == "all":
        return [mutant for mutant in possible if mutant.is_control or mutant.real == (engines == "real")]
    by_name = {mutant.name: mutant for mutant in possible}
    return [by_name[name.strip()] for name in names.split(",")]


async def try_mutant(mutant: Mutant, seed: int, source: Path, engines: Engines) -> Verdict:
    """Run one. Raises PatchError when it cannot be made, and what `run` raises."""
    begin = time.monotonic()
    with _folder() as folder:
        tree = source_tree(source, folder / "tree", None if mutant.is_control else mutant)
        result = await run(
            Scene(
                seed,
                replace(mutant.size, seconds=mutant.size.seconds * _LONGER[engines]),
                tree,
                folder,
                engines,
                mutant.faults,
                mutant.settings,
                patience=_PATIENCE_S[engines],
                within=_WITHIN_S[engines],
                wanted=mutant.shows,
            )
        )
    return Verdict(mutant, result.findings.differences, time.monotonic() - begin)


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="feedmesh-mutant-", ignore_cleanup_errors=True) as name:
        yield Path(name)
