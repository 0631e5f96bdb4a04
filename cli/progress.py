"""Shows how far long work is: a bar on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 10.0


class Reporter(Protocol):
    """Where long work tells how far it is."""

    def phase(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Begin a phase of so many steps; what it gives is called after each step."""
        ...

    def say(self, line: str) -> None:
        """Show a line."""
        ...


class ConsoleReporter:
    """Reports to a console, usually that of standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a phase, and at its end how many steps it took and how fast."""
        counter = _Counter()
        shown = self._bar(title, total, counter) if self._console.is_terminal else self._lines(title, total, counter)
        try:
            with shown as advance:
                yield advance
        finally:
            seconds = time.monotonic() - counter.began_at
            rate = counter.count / seconds if seconds else 0.0
            self.say(f"{title}: {counter.count:,} of {total:,} in {seconds:.1f} s ({rate:,.0f}/s)")

    def say(self, line: str) -> None:
        """Show a line as it is."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def _bar(self, title: str, total: int, counter: "_Counter") -> Iterator[Callable[[], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Drawn from here and not by a thread of its own: the work and the mesh need the CPU.
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as progress:
            task = progress.add_task(title, total=total)

            def show() -> None:
                progress.update(task, completed=counter.count, refresh=True)

            yield counter.advancing(show, _BAR_EVERY_S)

    @contextmanager
    def _lines(self, title: str, total: int, counter: "_Counter") -> Iterator[Callable[[], None]]:
        yield counter.advancing(lambda: self.say(f"{title}: {counter.count:,} of {total:,}"), _LINE_EVERY_S)


class _Counter:
    def __init__(self) -> None:
        self.count = 0
        self.began_at = time.monotonic()

    def advancing(self, show: Callable[[], None], every_s: float) -> Callable[[], None]:
        """Count a call as a step, and show the count at most every so many seconds."""
        next_at = self.began_at + every_s

        def advance() -> None:
            nonlocal next_at
            self.count += 1
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + every_s
                show()

        return advance
