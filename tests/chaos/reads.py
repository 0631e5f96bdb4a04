"""Judges every read that was made while load and faults went on: what it must have shown, and what it must not."""

from bisect import bisect_right
from collections.abc import Iterator

from tests.chaos.findings import Findings
from tests.chaos.history import ACTIVE, History, Post
from tests.chaos.ledger import Answered, Asked
from tests.chaos.shown import check_shape, check_text

# What takes away, and edits, hold on every path so much later.
_HOLDS_S = 1.0


class ReadJudge:
    """Compares reads with the history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.findings = Findings()

    def judge(self) -> Findings:
        """Judge all."""
        judges = {"feed": self._feed, "posts": self._author_page, "get": self._get}
        for asked, answered in self._history.operations:
            if asked.kind in judges:
                if answered.outcome == "unknown":
                    self.findings.check("reads without an answer")
                else:
                    judges[asked.kind](asked, answered)
        return self.findings

    def _feed(self, asked: Asked, answered: Answered) -> None:
        if answered.outcome == "refused":
            self.findings.found("refused", f"feed: HTTP {answered.status}", user=asked.who)
            return
        path = "feed" if len(answered.pages) == 1 else "walk"
        if asked.why:
            path = f"feed {asked.why}" if asked.why != "deliver" else "feed until delivered"
        check_shape(self.findings, answered.pages, asked.size, asked.who, path)
        items = [item for page in answered.pages for item in page]
        shown = {item.post for item in items}
        for item in items:
            post = check_text(self.findings, self._history, item, asked.who, since=self._edits_since(asked.at), path=path)
            if post:
                self._may_show(asked, answered, post, path)
        last = 0 if answered.whole else items[-1].post if items else 0
        for post in self._must_show(asked, answered, last):
            self.findings.check(f"{path}: posts that must be there")
            if post.post_id not in shown:
                self.findings.found("missing", f"{path}: {self._story(asked, answered, post)}", user=asked.who, post=post.post_id)

    def _edits_since(self, moment: float) -> float:
        """Edits are told by events: in a second as a rule, and no later than posts when something is broken."""
        return moment - (_HOLDS_S if self._history.calm(moment - _HOLDS_S) else 60)

    def _may_show(self, asked: Asked, answered: Answered, post: Post, path: str) -> None:
        """Check that what takes the post away was not answered before the read began."""
        self.findings.check(f"{path}: posts that may be there")
        if post.deleted <= asked.at - _HOLDS_S:
            self.findings.found("ghost", f"{path}: {self._story(asked, answered, post)}", user=asked.who, post=post.post_id)
        if self._in_feed(asked.who, post.author, asked.at, answered.at) == {False}:
            self.findings.found("leaked", f"{path}: {self._story(asked, answered, post)}", user=asked.who, post=post.post_id)

    def _in_feed(self, viewer: int, author: int, since: float, until: float) -> set[bool]:
        """Say whether an author belonged in a feed: the values possible between two moments."""
        if viewer == author:
            return {True}
        history = self._history
        if (viewer, author) not in history.edges:
            return {False}
        edge = history.edges[viewer, author].over(since, until)
        muted = history.mutes[viewer, author].over(since, until) if (viewer, author) in history.mutes else {False}
        if ACTIVE not in edge or muted == {True}:
            return {False}
        return {True} if edge == {ACTIVE} and muted == {False} else {True, False}

    def _must_show(self, asked: Asked, answered: Answered, last: int) -> Iterator[Post]:
        """Give the posts above the last one shown that were due when the read began, and were not taken away until it ended."""
        for author in (*self._history.followees.get(asked.who, ()), asked.who):
            posts = self._history.by_author.get(author)
            if posts and self._in_feed(asked.who, author, asked.at, answered.at) == {True} and self._arrived(asked, author):
                first = bisect_right(posts, last, key=lambda post: post.post_id)
                for post in posts[first:]:
                    if post.end < asked.at and self._history.due(post.end) <= asked.at and post.delete_begin > answered.at:
                        yield post

    def _arrived(self, asked: Asked, author: int) -> bool:
        """Tell whether what brought an author into a feed was due when the read began."""
        pair = (asked.who, author)
        changes = [
            register[pair].settled_at(asked.at) for register in (self._history.edges, self._history.mutes) if pair in register
        ]
        return all(change < 0 or self._history.due(change) <= asked.at for change in changes)

    def _author_page(self, asked: Asked, answered: Answered) -> None:
        allowed = self._history.visible(asked.who, asked.whom, asked.at - _HOLDS_S, answered.at)
        self._check_permission(asked, answered, allowed, "author's page")
        if answered.outcome == "refused":
            return
        check_shape(self.findings, answered.pages, asked.size, asked.who, "author's page")
        items = [item for page in answered.pages for item in page]
        for item in items:
            post = check_text(self.findings, self._history, item, asked.who, since=asked.at, path="author's page")
            if post and post.deleted <= asked.at:
                told = f"author's page: {self._story(asked, answered, post)}"
                self.findings.found("ghost", told, user=asked.who, post=item.post)
        last = 0 if answered.whole else items[-1].post if items else 0
        self._check_author_has(asked, answered, {item.post for item in items}, last)

    def _check_author_has(self, asked: Asked, answered: Answered, shown: set[int], last: int) -> None:
        for post in self._history.by_author.get(asked.whom, ()):
            lasting = post.end < asked.at and post.delete_begin > answered.at
            if lasting and post.post_id > last and post.post_id not in shown:
                told = f"author's page: {self._story(asked, answered, post)}"
                self.findings.found("missing", told, user=asked.who, post=post.post_id)

    def _get(self, asked: Asked, answered: Answered) -> None:
        post = self._history.posts[asked.post]
        allowed = self._history.visible(asked.who, post.author, asked.at - _HOLDS_S, answered.at)
        if post.deleted <= asked.at:
            allowed = {False}
        elif post.delete_begin <= answered.at:
            allowed = allowed | {False}
        self._check_permission(asked, answered, allowed, "post by id")
        for item in (item for page in answered.pages for item in page):
            check_text(self.findings, self._history, item, asked.who, since=asked.at, path="post by id")

    def _check_permission(self, asked: Asked, answered: Answered, allowed: set[bool], path: str) -> None:
        self.findings.check(f"{path}: allowed or not")
        if (answered.outcome == "ok") in allowed:
            return
        kind = "leaked" if answered.outcome == "ok" else "refused"
        told = f"{path}: HTTP {answered.status}, operation {asked.op} of {asked.client}, about {asked.whom or asked.post}"
        self.findings.found(kind, told, user=asked.who, post=asked.post)

    def _story(self, asked: Asked, answered: Answered, post: Post) -> str:
        """Tell what the log knows about a post and a reader, in seconds before the read."""
        history, pair = self._history, (asked.who, post.author)
        told = [f"{asked.client}, operation {asked.op}, took {answered.at - asked.at:.2f} s"]
        told += [] if history.calm(asked.at) else ["near a fault"]
        told += [f"by {post.author}", f"written {asked.at - post.end:.2f} s before"]
        told += [f"deleted {asked.at - post.deleted:.2f} s before"] if post.deleted <= answered.at else []
        for name, register in (("edge", history.edges.get(pair)), ("muted", history.mutes.get(pair))):
            if register:
                values = " or ".join(sorted(map(str, register.over(asked.at, answered.at))))
                told.append(f"{name} {values} since {asked.at - register.settled_at(asked.at):.2f} s")
        return ", ".join(told)
