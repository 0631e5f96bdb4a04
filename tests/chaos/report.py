"""What a run tells people."""

import sys
from collections import Counter
from collections.abc import Sequence

from tests.chaos.findings import Difference
from tests.chaos.history import History
from tests.chaos.mutation import Verdict
from tests.chaos.run import Result

_SHOWN_OF_A_KIND = 8


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(result: Result) -> None:
    """Tell everything about a main run."""
    history, findings = result.history, result.findings
    say("seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.seconds.items()))
    operations = result.operations()
    say(f"operations: {operations.total()}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(operations.items())))
    say(f"never answered for certain, and left out: {result.unknown()}")
    for fault in history.faults:
        say(f"fault: {fault.name} ({fault.detail}), whole again after {fault.end - fault.begin:.1f} s")
    for author in sorted({turned.author for turned in history.turns}):
        say(f"turns of {author}: " + ", ".join(turned.delivery for turned in history.turns if turned.author == author))
    for name, count in sorted(findings.checks.items()):
        say(f"check: {name}: {count}")
    _report_deliveries(history)
    say(f"feeds, pages or lists that were right only when read again: {result.late_users}")
    _report_differences(findings.differences)


def report_mutant(verdict: Verdict) -> None:
    """Tell what became of a mutant."""
    if verdict.mutant.is_control:
        say(f"control: the source as it is, {len(verdict.differences)} differences, {verdict.seconds:.0f} s")
        _report_differences(verdict.differences)
        return
    found = ", ".join(f"{count} {kind}" for kind, count in Counter(each.kind for each in verdict.differences).most_common())
    became = "caught" if verdict.as_it_must_be else "SURVIVED"
    say(f"mutant: {verdict.mutant.name}: {became}: {found or 'no difference'}, {verdict.seconds:.0f} s")


def summary(seed: int, engines: str, result: Result | None, verdicts: Sequence[Verdict]) -> str:
    """Sum up in a line."""
    parts = []
    if result:
        checks, differences = result.findings.checks.total(), len(result.findings.differences)
        users, posts = len(result.history.users), len(result.history.posts)
        parts.append(
            f"{users} users, {posts} posts, {len(result.history.faults)} faults, {checks} checks, {differences} differences"
        )
    mutants = [verdict for verdict in verdicts if not verdict.mutant.is_control]
    if mutants:
        parts.append(f"{sum(verdict.as_it_must_be for verdict in mutants)} of {len(mutants)} mutants caught")
    false = sum(len(verdict.differences) for verdict in verdicts if verdict.mutant.is_control)
    if false:
        parts.append(f"{false} differences without a mutant")
    return f"seed {seed}, {engines} engines: {'; '.join(parts)}"


def _report_deliveries(history: History) -> None:
    calm = sorted(each.seconds for each in history.deliveries if history.calm(each.at - each.seconds))
    rest = sorted(each.seconds for each in history.deliveries if not history.calm(each.at - each.seconds))
    for name, seconds in (("while nothing was broken", calm), ("near faults", rest)):
        if seconds:
            median, late = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
            say(f"delivery {name}: {len(seconds)} sampled, p50 {median:.3f} s, p99 {late:.3f} s, longest {seconds[-1]:.3f} s")


def _report_differences(differences: Sequence[Difference]) -> None:
    shown: Counter[str] = Counter()
    for each in differences:
        shown[each.kind] += 1
        if shown[each.kind] <= _SHOWN_OF_A_KIND:
            say(f"DIFFERENCE: {each.kind}: user {each.user}, post {each.post}: {each.detail}")
    for kind, count in shown.items():
        say(f"differences: {kind}: {count}")
