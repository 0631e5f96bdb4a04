"""What a judgement counted and found."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as promised. `user` and `post` are ids, or 0."""

    kind: str
    detail: str
    user: int = 0
    post: int = 0


@dataclass(slots=True)
class Findings:
    """Checks by name, and differences."""

    checks: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def check(self, name: str, count: int = 1) -> None:
        """Count checks."""
        self.checks[name] += count

    def found(self, kind: str, detail: str, *, user: int = 0, post: int = 0) -> None:
        """Note a difference."""
        self.differences.append(Difference(kind, detail, user, post))

    def has(self, kinds: Collection[str]) -> bool:
        """Tell whether there are differences of one of these kinds."""
        return any(difference.kind in kinds for difference in self.differences)

    def add(self, other: "Findings") -> None:
        """Take in what another judgement found."""
        self.checks.update(other.checks)
        self.differences += other.differences
