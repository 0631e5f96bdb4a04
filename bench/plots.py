"""Curves as pictures."""

from collections.abc import Sequence
from pathlib import Path

from bench.figure import Curve

_INCHES = (6.4, 4.0)
_DOTS_AN_INCH = 120


def draw(curves: Sequence[Curve], folder: Path) -> None:
    """Write a PNG for each curve, named as it is. Sizes are on a logarithmic axis, 0 as well: below 1 it is linear."""
    if not curves:
        return
    # Half a second to load, and not needed where nothing grows. This backend needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    folder.mkdir(exist_ok=True)
    for curve in curves:
        figure = Figure(figsize=_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        sizes, values = zip(*curve.points, strict=True)
        axes.plot(sizes, values, marker="o")
        axes.set(title=curve.name, xlabel=curve.x, ylabel=curve.y, ylim=(0, 1.15 * max(values)))
        if min(sizes) > 0:
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(0, 1.3 * max(sizes))
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.grid(visible=True, alpha=0.3)
        figure.savefig(folder / f"{curve.name}.png", dpi=_DOTS_AN_INCH)
