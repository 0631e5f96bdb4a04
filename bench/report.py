"""The results, as a table for people and as a file for programs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figure import Figure

# From here on no fractions are shown.
_WHOLE = 100


def say(line: str) -> None:
    """Tell who is waiting what happens."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show(figures: Sequence[Figure]) -> None:
    """Print the figures."""
    table = Table("figure", "unit", "value", "reference", "ratio (least to most)", "goal", "met")
    for figure in figures:
        ratios = f"{figure.ratio:.3g} ({min(figure.ratios):.3g} to {max(figure.ratios):.3g})"
        met = "yes" if figure.met else "no"
        table.add_row(figure.name, figure.unit, _short(figure.value), _short(figure.reference), ratios, str(figure.goal), met)
    Console().print(table)


def write_results(figures: Sequence[Figure], folder: Path) -> None:
    """Write `results.json`."""
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps([figure.result() for figure in figures], indent=1) + "\n")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= _WHOLE else f"{number:.3g}"
