"""What the bench makes of what it measured."""

import json
from pathlib import Path

import pytest

from bench.figure import Curve, Figure, Goal, alternating
from bench.plots import draw
from bench.report import write_results

_PNG = b"\x89PNG\r\n\x1a\n"


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A round's value is compared with its own reference, not with those of other rounds."""
    figure = Figure("f", "B", Goal.ratio_at_least(2), values=[10, 40, 90], references=[10, 10, 30])
    assert figure.ratios == [1, 4, 3]
    assert (figure.value, figure.reference, figure.ratio) == (40, 10, 3)
    assert figure.met


def test_rounds_of_a_value_need_as_many_of_the_reference() -> None:
    """A value without a reference of its own is not compared with another's."""
    with pytest.raises(ValueError, match="shorter"):
        _ = Figure("f", "B", Goal.at_most(1), values=[1, 2], references=[1]).ratio


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "met"),
    [
        (Goal.ratio_at_least(0.6), 0, 0.6, True),
        (Goal.ratio_at_least(0.6), 99, 0.599, False),
        (Goal.ratio_at_most(5), 99, 5, True),
        (Goal.ratio_at_most(5), 0, 5.001, False),
        (Goal.at_most(20), 20, 99, True),
        (Goal.at_most(20), 20.001, 0, False),
    ],
)
def test_goals_are_met_at_their_limit(goal: Goal, value: float, ratio: float, *, met: bool) -> None:
    """A goal of the ratio looks at nothing but the ratio, one of the value at nothing but the value; the limit itself is good."""
    assert goal.is_met(value, ratio) is met


async def test_measurements_alternate() -> None:
    """Value and reference are measured in turn, the reference first, and each as often."""
    order: list[str] = []

    async def measured(name: str) -> float:
        order.append(name)
        return len(order)

    values, references = await alternating(3, lambda: measured("value"), lambda: measured("reference"))
    assert order == ["reference", "value"] * 3
    assert (values, references) == ([2, 4, 6], [1, 3, 5])


def test_results_are_files_for_programs(tmp_path: Path) -> None:
    """The results are a list of figures with what the goal asks for, and curves and the machine stand beside it."""
    figure = Figure("memory.entry", "B", Goal.at_most(20), values=[16, 17, 18], references=[68, 68, 68])
    write_results([figure], [Curve("grow", "followers", "µs", [(1, 2), (10, 3)])], {"cores": 2}, tmp_path)
    (result,) = json.loads((tmp_path / "results.json").read_text())
    assert result == {
        "name": "memory.entry",
        "unit": "B",
        "value": 17,
        "reference": 68,
        "ratio": 0.25,
        "goal": "≤ 20",
        "met": True,
        "values": [16, 17, 18],
        "references": [68, 68, 68],
    }
    assert json.loads((tmp_path / "curves.json").read_text()) == [
        {"name": "grow", "x": "followers", "y": "µs", "points": [[1, 2], [10, 3]]}
    ]
    assert json.loads((tmp_path / "machine.json").read_text()) == {"cores": 2}


def test_a_curve_is_of_medians() -> None:
    """What was measured at a size is one point, its median."""
    assert Curve.of_medians("grow", "x", "y", {10: [3, 1, 2], 100: [5, 9]}).points == [(10, 2), (100, 7)]


def test_curves_become_pictures(tmp_path: Path) -> None:
    """Each curve is drawn as a PNG of its name, also where it begins at nothing."""
    draw([Curve("grow.celebrities", "pulled followees", "ms", [(0, 0.5), (50, 0.6), (500, 1.2)])], tmp_path)
    assert (tmp_path / "grow.celebrities.png").read_bytes().startswith(_PNG)
