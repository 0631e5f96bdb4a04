"""Runs mutants: the ledger has to find something wrong with each, and nothing with the source as it is."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.findings import Difference
from tests.chaos.mesh import Engines
from tests.chaos.mutants import CONTROL, MUTANTS, Mutant, source_tree
from tests.chaos.run import Scene, run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: the differences that gave it away, if any."""

    mutant: Mutant
    differences: Sequence[Difference]
    seconds: float

    @property
    def as_it_must_be(self) -> bool:
        """Whether a bug was caught, or sound source was found to be sound."""
        return bool(self.differences) != (self.mutant is CONTROL)


def chosen(names: str, engines: Engines) -> list[Mutant]:
    """Choose mutants: `all`, `none`, or names separated by commas. Raises KeyError for a name that there is not."""
    if names == "none":
        return []
    possible = [mutant for mutant in (CONTROL, *MUTANTS) if engines == "real" or not mutant.real]
    if names == "all":
        return possible
    by_name = {mutant.name: mutant for mutant in possible}
    return [by_name[name.strip()] for name in names.split(",")]


async def try_mutant(mutant: Mutant, seed: int, source: Path, engines: Engines) -> Verdict:
    """Run one. Raises PatchError when it cannot be made, and what `run` raises."""
    begin = time.monotonic()
    with _folder() as folder:
        tree = source_tree(source, folder / "tree", None if mutant is CONTROL else mutant)
        scene = Scene(
            seed, mutant.size, tree, folder, engines, mutant.faults, mutant.settings, patience=8.0, within=4.0, hasty=True
        )
        result = await run(scene)
    return Verdict(mutant, result.findings.differences, time.monotonic() - begin)


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="feedmesh-mutant-", ignore_cleanup_errors=True) as name:
        yield Path(name)
