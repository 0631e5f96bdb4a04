"""The capacity sheet."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.capacity import Load, Measured, large, markdown, sheet

LOAD = Load(
    users=1_000,
    reads=864_000,
    posts=86_400,
    followers=10,
    peak=2,
    busy=0.5,
    kept=2,
    replicas=3,
    filled=0.5,
    entries=800,
    recent=100,
    missed=0.25,
    post_bytes=500,
    post_rows=4,
    post_reads=2,
    tie_bytes=200,
    ties=30,
)
MEASURED = Measured(cores=2, reads_a_second=1_000, posts_a_second=100, deliveries_a_second=50, entry_bytes=16)
FIGURES = {"read.rest": 1_000, "write.rate.sqlite": 100, "fanout.rate": 50, "memory.entry": 16}


def worked_out(load: Load = LOAD, measured: Measured = MEASURED) -> dict[str, float]:
    """Give the results by what they are."""
    return {line.what: line.result for line in sheet(load, measured)}


def write(folder: Path, figures: Mapping[str, float], *, smoke: bool = False) -> None:
    """Write what a bench would."""
    (folder / "machine.json").write_text(json.dumps({"cores": 2, "smoke": smoke}))
    (folder / "results.json").write_text(json.dumps([{"name": name, "value": value} for name, value in figures.items()]))


def test_every_line_is_worked_out() -> None:
    """Each line is what a day's load makes at peak, by what the bench measured."""
    assert worked_out() == pytest.approx(
        {
            "feed reads at peak": 20,
            "posts at peak": 2,
            "deliveries at peak": 20,
            "cores for reads": 20 / 1_000 * 2 / 0.5,
            "cores for posts": 2 / 100 * 2 / 0.5,
            "cores for deliveries": 20 / 50 * 2 / 0.5,
            "cores, all": 0.08 + 0.08 + 1.6,
            "Redis, timelines": 1_000 * 2 * 800 * 16 * 3 / 0.5,
            "Redis, authors' posts": 1_000 * 100 * 16 * 3 / 0.5,
            "Redis, all": 163_200_000,
            "table, write units": 2 * 9,
            "table, read units for pages": 5,
            "table, read units for posts": 2 * (2 + 10 * 200 / 4_000),
            "table, posts a year": 86_400 * 365 * (500 + 200),
            "table, follows": 1_000 * 30 * 2 * (200 + 100),
        }
    )


def test_faster_is_fewer_cores() -> None:
    """Twice the measured rate of reads halves the cores for reads, and changes no other part's."""
    fast, slow = worked_out(measured=replace(MEASURED, reads_a_second=2_000)), worked_out()
    assert fast["cores for reads"] == pytest.approx(slow["cores for reads"] / 2)
    assert fast["cores for posts"] == slow["cores for posts"]


def test_arithmetic_is_shown() -> None:
    """The table has a row for each line, with the arithmetic and the unit."""
    shown = markdown(sheet(LOAD, MEASURED)).splitlines()
    assert len(shown) == 2 + len(worked_out())
    assert "| cores for posts | 2 /s ÷ 100 /s × 2 cores ÷ 0.5 busy | 0.08 |" in shown
    assert "| Redis, all | 154 MB + 9.6 MB | 163 MB |" in shown


@pytest.mark.parametrize(
    ("number", "written"),
    [(0.5, "0.5 "), (12, "12 "), (999.7, "1,000 "), (1_000, "1 k"), (115_741, "116 k"), (5e9, "5 G"), (2.5e15, "2.5 P")],
)
def test_numbers_are_written_short(number: float, written: str) -> None:
    """A number has three digits and the letter for its size."""
    assert large(number) == written


def test_a_bench_is_read(tmp_path: Path) -> None:
    """What the bench wrote is taken by its figures' names."""
    write(tmp_path, FIGURES)
    assert Measured.load(tmp_path) == MEASURED


def test_a_bench_that_lacks_a_figure_is_refused(tmp_path: Path) -> None:
    """A figure that was not measured is named, and not made up."""
    write(tmp_path, {name: value for name, value in FIGURES.items() if name != "fanout.rate"})
    with pytest.raises(ValueError, match=r"no fanout\.rate: run make bench"):
        Measured.load(tmp_path)


def test_a_smoke_run_is_refused(tmp_path: Path) -> None:
    """Values of a smoke run mean nothing, and nothing is worked out from them."""
    write(tmp_path, FIGURES, smoke=True)
    with pytest.raises(ValueError, match="smoke run"):
        Measured.load(tmp_path)


def test_no_bench_is_told(tmp_path: Path) -> None:
    """Where nothing was measured, it is said what to run."""
    with pytest.raises(ValueError, match="run make bench first"):
        Measured.load(tmp_path)
