"""The results, as a table for people and as files for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figure import Curve, Figure

# From here on no fractions are shown.
_WHOLE = 100
_WIDTH = 160


def say(line: str) -> None:
    """Tell who is waiting what happens."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show(figures: Sequence[Figure], machine: Mapping[str, object]) -> None:
    """Print the figures, and what they were measured on."""
    caption = ", ".join(f"{name} {value}" for name, value in machine.items())
    table = Table("figure", "unit", "value", "reference", "ratio (least to most)", "goal", "met", caption=caption)
    for figure in figures:
        ratios = f"{figure.ratio:.3g} ({min(figure.ratios):.3g} to {max(figure.ratios):.3g})"
        met = "yes" if figure.met else "no"
        table.add_row(figure.name, figure.unit, _short(figure.value), _short(figure.reference), ratios, str(figure.goal), met)
    console = Console()
    if not console.is_terminal:  # where nobody says how wide it is, 80 would be assumed
        console.width = _WIDTH
    console.print(table)


def write_results(figures: Sequence[Figure], curves: Sequence[Curve], machine: Mapping[str, object], folder: Path) -> None:
    """Write `results.json`, `curves.json` and `machine.json`."""
    folder.mkdir(exist_ok=True)
    _write(folder / "results.json", [figure.result() for figure in figures])
    _write(folder / "curves.json", [curve.result() for curve in curves])
    _write(folder / "machine.json", machine)


def _write(path: Path, content: Any) -> None:  # noqa: ANN401  # it is what JSON may be
    path.write_text(json.dumps(content, indent=1) + "\n")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= _WHOLE else f"{number:.3g}"
