"""Compares how it ended with the oracle: every feed to its end, every author's page, every count and list."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection

from tests.chaos.calls import Caller
from tests.chaos.findings import Findings
from tests.chaos.history import History
from tests.chaos.ledger import Answered, Shown, now
from tests.chaos.members import all_of
from tests.chaos.oracle import Oracle
from tests.chaos.shown import check_shape, check_text

_LOOK_AGAIN_S = 0.5
_TRIES = 6
_PAGE_SIZES = (100, 100, 100, 33, 7)
_SAMPLE = 400
_STORIES = 5
_EDGES = ("followers", "following")
_RARE = ("blocks", "mutes", "requests", "sent")


class Judge:
    """Reads everything through REST. What differs at first is read again, for `patience` seconds at most."""

    def __init__(self, history: History, caller: Caller, chance: random.Random, *, patience: float) -> None:
        self._history = history
        self._oracle = Oracle(history)
        self._caller = caller
        self._chance = chance
        self._patience = patience
        self._involved = {user for pair in (*history.mutes, *history.blocks) for user in pair} | history.asked_privately()
        self.findings = Findings()
        self.late = 0

    async def judge(self, wanted: Collection[str] = ()) -> Findings:
        """Judge everything; no more than it takes to find differences of a kind that is wanted."""
        for check in (self._feed, self._author, self._account):
            await self._converged(check)
            if self.findings.has(wanted):
                return self.findings
        await self._samples()
        return self.findings

    async def _converged(self, check: Callable[[int], Awaitable[Findings]]) -> None:
        """Check every user, and those with differences again until the time is over."""
        give_up = now() + self._patience
        waiting = list(self._history.users)
        first = True
        while waiting:
            over = now() > give_up
            results: dict[int, Findings] = {}

            async def one(user: int, results: dict[int, Findings] = results) -> None:
                results[user] = await check(user)

            await all_of(waiting, one, 48)
            for user in [user for user, result in results.items() if over or not result.differences]:
                self.findings.add(results.pop(user))
            waiting = list(results)
            self.late += len(waiting) if first else 0
            first = False
            if waiting:
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _feed(self, user: int) -> Findings:
        findings = Findings()
        size = self._chance.choice(_PAGE_SIZES)
        answered = await self._caller.read("judge", "feed", user, size=size, tries=_TRIES, why="at the end")
        items = self._check_pages(findings, answered, size, user, "feed at the end")
        certain = [item.post for item in items if not self._oracle.may_ignore(user, item.author, item.post)]
        await self._compare(findings, user, certain, self._oracle.feed(user))
        return findings

    def _check_pages(self, findings: Findings, answered: Answered, size: int, user: int, path: str) -> list[Shown]:
        if not answered.whole:
            findings.found("unread", f"{path}: HTTP {answered.status}", user=user)
        check_shape(findings, answered.pages, size, user, path)
        items = [item for page in answered.pages for item in page]
        for item in items:
            check_text(findings, self._history, item, user, since=now(), path=path)
        return items

    async def _compare(self, findings: Findings, user: int, shown: list[int], wanted: list[int]) -> None:
        findings.check("feeds compared with the oracle")
        findings.check("posts in feeds compared with the oracle", len(wanted))
        for kind, differing in (("lost", set(wanted) - set(shown)), ("leaked at the end", set(shown) - set(wanted))):
            for number, post in enumerate(sorted(differing, reverse=True)):
                story = await self._story(user, post) if number < _STORIES else "like the others of this feed"
                findings.found(kind, story, user=user, post=post)

    async def _story(self, user: int, post_id: int) -> str:
        """Tell what log and mesh know of a post and a feed."""
        post = self._history.posts[post_id]
        edge = self._history.edges.get((user, post.author))
        edges = f"edge {edge.last} since {edge.settled_at(now()):.2f}" if edge else "no edge"
        deleted = f", deleted {post.deleted:.2f}" if self._oracle.gone(post) else ""
        explained = await self._caller.explain(user, post_id)
        return f"author {post.author}, written {post.end:.2f} by operation {post.op}{deleted}, {edges}; the mesh says {explained}"

    async def _author(self, user: int) -> Findings:
        findings = Findings()
        size = self._chance.choice(_PAGE_SIZES)
        answered = await self._caller.read("judge", "posts", user, whom=user, size=size, tries=_TRIES, why="at the end")
        items = self._check_pages(findings, answered, size, user, "author's page at the end")
        certain = [item.post for item in items if not self._oracle.may_ignore(user, user, item.post)]
        findings.check("authors' pages compared with the oracle")
        wanted = self._oracle.posts(user)
        if certain != wanted:
            differ = sorted(set(certain) ^ set(wanted))
            findings.found("author's page", f"{len(certain)} posts instead of {len(wanted)}, differing in {differ[:5]}", user=user)
        return findings

    async def _account(self, user: int) -> Findings:
        """Compare lists with the oracle, and counts with lists."""
        findings = Findings()
        account = self._oracle.accounts[user]
        names = (*_EDGES, *_RARE) if user in self._involved else _EDGES
        lists = {name: await self._caller.accounts(name, user, tries=_TRIES) for name in names}
        for name, found in lists.items():
            findings.check("lists of accounts compared with the oracle")
            if found is None or len(set(found)) != len(found):
                findings.found("list", f"{name}: not answered, or somebody twice", user=user)
            elif differ := (set(found) ^ getattr(account, name)) - account.doubtful:
                findings.found("list", f"{name}: differs in {sorted(differ)[:5]}", user=user)
        counted = await self._caller.account(user, tries=_TRIES)
        findings.check("counts compared with lists", 2)
        rows = (len(lists["followers"] or ()), len(lists["following"] or ()))
        if counted is None or (counted.follower_count, counted.following_count) != rows:
            told = f"{counted.follower_count} and {counted.following_count}" if counted else "nothing"
            findings.found("counter", f"counts {told}, rows {rows[0]} and {rows[1]}", user=user)
        private = self._history.private.get(user)
        if counted and private and not private.doubtful and counted.private != private.last:
            findings.found("privacy", f"private is {counted.private}", user=user)
        return findings

    async def _samples(self) -> None:
        """Ask for deleted posts, and for posts of those who are private or blocked, by whom may see them and who may not."""
        posts = [post for post in self._history.posts.values() if not self._oracle.doubtful(post)]
        deleted = [post for post in posts if self._oracle.gone(post)]
        hidden = [post for post in posts if post.author in self._history.private]
        blocked = [(viewer, author) for pair in self._history.blocks for viewer, author in (pair, pair[::-1])]

        async def get(case: tuple[int, int]) -> None:
            viewer, post_id = case
            post = self._history.posts[post_id]
            moment = now()
            allowed = {False} if self._oracle.gone(post) else self._history.visible(viewer, post.author, moment - 1, moment)
            answered = await self._caller.get_post("judge", viewer, post_id, why="at the end")
            self.findings.check("single posts at the end")
            if (answered.outcome == "ok") not in allowed:
                told = f"post by id at the end: HTTP {answered.status}, author {post.author}"
                self.findings.found("leaked at the end" if answered.outcome == "ok" else "lost", told, user=viewer, post=post_id)

        cases = [(viewer, post.post_id) for post in self._some(deleted + hidden) for viewer in (post.author, self._anybody())]
        for viewer, author in self._some(blocked):
            cases += [(viewer, post.post_id) for post in self._history.by_author.get(author, [])[-1:]]
        await all_of(cases, get, 32)

    def _some(self, things: list) -> list:  # type: ignore[type-arg]
        return self._chance.sample(things, min(_SAMPLE, len(things)))

    def _anybody(self) -> int:
        return self._chance.choice(self._history.users)
