"""What any page of posts must be like, whoever reads it and when: in order, once each, full, and each with a text of its own."""

from collections.abc import Sequence
from itertools import pairwise

from tests.chaos.findings import Findings
from tests.chaos.history import History, Post
from tests.chaos.ledger import Shown


def check_shape(findings: Findings, pages: Sequence[Sequence[Shown]], size: int, user: int, path: str) -> None:
    """Check order, repetitions and lengths."""
    items = [item for page in pages for item in page]
    findings.check(f"{path}: pages in order and full", len(pages))
    for first, second in pairwise(items):
        if first.post == second.post:
            findings.found("duplicate", f"{path}: shown twice", user=user, post=first.post)
        elif first.post < second.post:
            findings.found("disorder", f"{path}: {first.post} stands before {second.post}", user=user, post=first.post)
    for page in pages[:-1]:
        if len(page) != size:
            findings.found("short page", f"{path}: {len(page)} of {size}, and it is not the last", user=user)


def check_text(findings: Findings, history: History, item: Shown, user: int, *, since: float, path: str) -> Post | None:
    """Check that a post is one of ours, and shows a text that it may have had since a moment; give it unless that is in doubt."""
    post = history.posts.get(item.post)
    if post is None:
        unanswered = history.by_op.get(item.op)
        if unanswered is None or unanswered.post_id or unanswered.author != item.author:
            told = f"{path}: nobody was told of this post; its text is of operation {item.op}"
            findings.found("stranger", told, user=user, post=item.post)
        return None
    if item.author != post.author:
        findings.found("mixed up", f"{path}: shown as by {item.author}, written by {post.author}", user=user, post=item.post)
    if item.op in post.doubtful_texts or post.doubtful_texts:
        return post
    written = post.texts[item.version - 1] if 0 < item.version <= len(post.texts) else None
    if written is None or written.op != item.op:
        told = f"{path}: version {item.version} with the text of operation {item.op}"
        findings.found("mixed up", told, user=user, post=item.post)
    elif any(newer.end <= since for newer in post.texts[item.version :]):
        findings.found("stale", f"{path}: version {item.version} of {len(post.texts)}", user=user, post=item.post)
    return post
