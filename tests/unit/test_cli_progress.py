"""Progress: a bar on a terminal, plain lines elsewhere, and rates at the end of both."""

import io

import pytest
from rich.console import Console

from cli.progress import ConsoleReporter


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_ends_with_its_count_and_rate(terminal: bool) -> None:  # noqa: FBT001  # pytest names it
    """Whatever the output is, a phase's last line says how many steps were taken of how many, and how fast."""
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, force_terminal=terminal, width=100))
    with reporter.phase("posts", 1_500) as advance:
        for _ in range(1_200):
            advance()
    lines = out.getvalue().splitlines()
    assert "posts: 1,200 of 1,500 in 0." in lines[-1]
    assert lines[-1].endswith("/s)")
    assert ("\x1b[" in out.getvalue()) == terminal


def test_a_phase_that_fails_still_tells_how_far_it_came() -> None:
    """After a failure, or Ctrl-C, the count so far is shown, and the failure goes on."""
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out))

    def interrupted() -> None:
        with reporter.phase("posts", 10) as advance:
            advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().startswith("posts: 1 of 10 in ")
