"""What the bench says: figures, each a value beside a reference that was measured in the same run."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to reach: at least or at most so much, of the value itself or of its ratio to the reference."""

    limit: float
    most: bool = False
    of_ratio: bool = True

    @classmethod
    def ratio_at_least(cls, limit: float) -> "Goal":
        """Ask for a value of at least so many times the reference."""
        return cls(limit)

    @classmethod
    def ratio_at_most(cls, limit: float) -> "Goal":
        """Ask for a value of at most so many times the reference."""
        return cls(limit, most=True)

    @classmethod
    def at_most(cls, limit: float) -> "Goal":
        """Ask for a value of at most so much by itself."""
        return cls(limit, most=True, of_ratio=False)

    def is_met(self, value: float, ratio: float) -> bool:
        """Tell whether it is reached."""
        reached = ratio if self.of_ratio else value
        return reached <= self.limit if self.most else reached >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.limit:.3g}{' of the reference' if self.of_ratio else ''}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: value and reference of every round, in the unit. A round's ratio is that of two neighbours in time."""

    name: str
    unit: str
    goal: Goal
    values: Sequence[float]
    references: Sequence[float]

    @property
    def value(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def reference(self) -> float:
        """The median of the references."""
        return statistics.median(self.references)

    @property
    def ratios(self) -> list[float]:
        """Value to reference, round by round."""
        return [value / reference for value, reference in zip(self.values, self.references, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.goal.is_met(self.value, self.ratio)

    def result(self) -> dict[str, Any]:
        """Give what stands in the results file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "reference": self.reference,
            "ratio": self.ratio,
            "goal": str(self.goal),
            "met": self.met,
            "values": list(self.values),
            "references": list(self.references),
        }


@dataclass(frozen=True, slots=True)
class Curve:
    """How something grows: a value for each size, drawn as a picture and kept in a file.

    `x` and `y` say what the axes show, with units.
    """

    name: str
    x: str
    y: str
    points: Sequence[tuple[float, float]]

    @classmethod
    def of_medians(cls, name: str, x: str, y: str, values: Mapping[int, Sequence[float]]) -> "Curve":
        """Take the median of what was measured at each size."""
        return cls(name, x, y, [(size, statistics.median(measured)) for size, measured in values.items()])

    def result(self) -> dict[str, Any]:
        """Give what stands in the curves' file."""
        return {"name": self.name, "x": self.x, "y": self.y, "points": [list(point) for point in self.points]}


Measure = Callable[[], Awaitable[float]]


async def alternating(rounds: int, value: Measure, reference: Measure) -> tuple[list[float], list[float]]:
    """Measure two things in turn, each so many times, so that what else the machine does falls on both alike."""
    values, references = [], []
    for _ in range(rounds):
        references.append(await reference())
        values.append(await value())
    return values, references
