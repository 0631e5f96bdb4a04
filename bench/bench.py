"""What every figure is measured with."""

from dataclasses import dataclass

from bench.crowd import Crowd
from bench.rig import Rig


@dataclass(frozen=True, slots=True)
class Bench:
    """A running mesh, who lives in it, and how long to measure: `rounds` times, `seconds` each.

    `smoke` asks only whether every figure can be measured: sizes shrink with it, and the values mean nothing.
    """

    rig: Rig
    crowd: Crowd
    rounds: int
    seconds: float
    smoke: bool

    def size(self, full: int, smoke: int) -> int:
        """Choose a size."""
        return smoke if self.smoke else full
