"""The ledger in its short form: a small community, a few faults, two seeded bugs. `make chaos` is the long one."""

import dataclasses
from pathlib import Path

import pytest

from tests.chaos.mutants import CONTROL, MUTANTS, Mutant, PatchError, source_tree
from tests.chaos.mutation import try_mutant
from tests.chaos.run import Scene, run

ROOT = Path(__file__).resolve().parents[2]
SEED = 4


async def test_everything_is_exact_through_faults(tmp_path: Path) -> None:
    """While a mesh is killed, its Valkey frozen and a third of all keys evicted, no read shows too much or too little."""
    size = dataclasses.replace(CONTROL.size, seconds=12.0)
    faults = ("evict keys", "freeze Valkey", "kill mesh")
    tree = source_tree(ROOT, tmp_path / "tree")
    result = await run(Scene(SEED, size, tree, tmp_path, faults=faults, settings=CONTROL.settings, within=4.0))
    assert result.findings.differences == []
    assert [fault.name for fault in result.history.faults] == list(faults)
    assert result.findings.checks["feeds compared with the oracle"] == size.users
    assert len(result.history.posts) >= size.posts
    assert {turned.delivery for turned in result.history.turns} >= {"PULL", "PUSH"}


@pytest.mark.parametrize("name", ["unguarded append", "hidden after the answer"])
async def test_a_seeded_bug_is_noticed(name: str) -> None:
    """The ledger finds differences when the source has a bug."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    verdict = await try_mutant(mutant, SEED, ROOT, "embedded")
    assert verdict.as_it_must_be


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_can_be_made(mutant: Mutant, tmp_path: Path) -> None:
    """The text that a mutant changes stands in the source exactly once."""
    source_tree(ROOT, tmp_path / "tree", mutant)


def test_a_mutant_that_fits_no_more_is_refused(tmp_path: Path) -> None:
    """A mutant whose text does not stand in the source is an error, not a mutant that is never caught."""
    unfit = dataclasses.replace(MUTANTS[0], old="no such text")
    with pytest.raises(PatchError, match="0 times"):
        source_tree(ROOT, tmp_path / "tree", unfit)
