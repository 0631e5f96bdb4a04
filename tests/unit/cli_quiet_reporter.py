"""A reporter that only remembers."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class QuietReporter:
    """Keeps how many steps each phase took, and what was said."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.said: list[str] = []

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """Count a phase's steps; no more than were announced."""

        def advance() -> None:
            self.steps[title] += 1
            assert self.steps[title] <= total

        yield advance

    def say(self, line: str) -> None:
        """Remember a line."""
        self.said.append(line)
