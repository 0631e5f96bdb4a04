"""Judges the answers to writes: what was refused had to be, what was accepted could be, and one operation made one post."""

from collections import Counter

from tests.chaos.findings import Findings
from tests.chaos.history import ACTIVE, NONE, History
from tests.chaos.ledger import Answered, Asked

_FORBIDDEN = 403
_NOT_FOUND = 404
_INSTANT_S = 1e-6


def judge_writes(history: History) -> Findings:
    """Judge all answers to writes, and that nothing ever failed from within."""
    findings = Findings()
    for asked, answered in history.operations:
        for failure in answered.failures:
            findings.found("failure", f"{asked.kind}, operation {asked.op}: {failure}", user=asked.who)
        if asked.kind == "again":
            _check_again(findings, asked, answered)
        elif asked.kind not in {"feed", "posts", "get"} and answered.outcome != "unknown":
            _check(findings, history, asked, answered)
    _check_ids(findings, history)
    return findings


def _check_again(findings: Findings, asked: Asked, answered: Answered) -> None:
    findings.check("repeats under one request id give the same post")
    if answered.outcome == "refused" or (answered.outcome == "ok" and answered.made != asked.post):
        told = f"operation {asked.op} repeats the one that made {asked.post}: HTTP {answered.status}, {answered.made}"
        findings.found("two posts of one operation", told, user=asked.who, post=asked.post)


def _check(findings: Findings, history: History, asked: Asked, answered: Answered) -> None:
    findings.check("writes answered as they must be")
    refused = answered.outcome == "refused"
    match asked.kind:
        case "follow":
            blocked = [history.blocks[pair].over(asked.at, answered.at) for pair in _pairs(asked) if pair in history.blocks]
            sure = any(values == {True} for values in blocked)
            possible = any(True in values for values in blocked)
            wrong = (not possible or answered.status != _FORBIDDEN) if refused else sure or not _fitting(history, asked, answered)
        case "approve":
            wrong = answered.status != _NOT_FOUND if refused else False
            edge = _before(history, asked.whom, asked.who, asked)
            wrong = wrong or (refused and NONE not in edge) or (not refused and edge == {NONE})
        case _:
            wrong = refused
    if wrong:
        about = f"operation {asked.op} of {asked.client} about {asked.whom or asked.post}"
        told = f"{asked.kind}, {about}: HTTP {answered.status} {answered.state}"
        findings.found("wrong answer", told, user=asked.who, post=asked.post)


def _fitting(history: History, asked: Asked, answered: Answered) -> bool:
    """Tell whether an accepted follow had to become what it did: an edge, or a request."""
    private = history.private[asked.whom].over(asked.at, answered.at) if asked.whom in history.private else {False}
    before = _before(history, asked.who, asked.whom, asked)
    if "REQUESTED" in answered.state:
        return True in private and before != {ACTIVE}
    return False in private or ACTIVE in before


def _before(history: History, follower: int, followee: int, asked: Asked) -> set[str]:
    """Give what an edge may have been just before an operation about it."""
    return history.edges[follower, followee].over(asked.at - _INSTANT_S, asked.at - _INSTANT_S)


def _pairs(asked: Asked) -> tuple[tuple[int, int], tuple[int, int]]:
    return (asked.who, asked.whom), (asked.whom, asked.who)


def _check_ids(findings: Findings, history: History) -> None:
    """No two operations may have been answered with one post."""
    findings.check("each operation owns one post", len(history.posts))
    made = Counter(answered.made for asked, answered in history.operations if asked.kind == "post" and answered.made)
    for post, count in made.items():
        if count > 1:
            findings.found("one post of two operations", f"{count} operations were answered with it", post=post)
