"""Reads every feed of a seeded mesh through REST to its end, and tells everything that is not as the oracle expects."""

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cli.client import Client
from cli.feeds import Difference, Kind, compare, doubtful_posts, read_feed
from cli.journal import Facts
from cli.oracle import Oracle
from cli.progress import Reporter
from cli.transport import ApiError
from cli.workers import work_through

PAGE_SIZE = 100
_READ_AGAIN_EVERY_S = 0.25

Mint = Callable[[int], str]


@dataclass(slots=True)
class Result:
    """What a verification read and found.

    `late_users` had feeds that were complete only when read again; the last of them was after `settled_s` seconds from the
    beginning. `posts_found` were never acknowledged to the seed, and exist.
    """

    users: int = 0
    pages: int = 0
    items: int = 0
    seconds: float = 0.0
    late_users: int = 0
    settled_s: float = 0.0
    posts_found: int = 0
    differences: list[Difference] = field(default_factory=list)


async def verify(
    client: Client, mint: Mint, facts: Facts, *, concurrency: int, settle_s: float, report: Reporter, page_size: int = PAGE_SIZE
) -> Result:
    """Compare every feed of a journal with the oracle.

    A feed from which something is missing is read again until nothing is, for `settle_s` seconds after every feed was read once:
    delivery takes a while. Anything else is a difference at once, even if it vanishes later.

    Raises:
        UnansweredError: the mesh stayed away too long.

    """
    return await _Verification(client, functools.cache(mint), Oracle(facts), concurrency, report, page_size).run(settle_s)


class _Verification:
    def __init__(self, client: Client, mint: Mint, oracle: Oracle, concurrency: int, report: Reporter, page_size: int) -> None:
        self._client = client
        self._mint = mint
        self._oracle = oracle
        self._concurrency = concurrency
        self._report = report
        self._page_size = page_size
        self._result = Result(users=len(oracle.usernames))
        # What was not missing but wrong, in any reading; without order, each once.
        self._wrong: dict[Difference, None] = {}
        self._missing: dict[int, list[Difference]] = {}
        # By user: the ids under which posts in doubt were seen.
        self._made_as: dict[int, dict[int, int]] = {}

    async def run(self, settle_s: float) -> Result:
        began_at = time.monotonic()
        await self._read_all()
        missing = self._all_missing()
        late, give_up_at = set(missing), time.monotonic() + settle_s
        if missing and settle_s:
            self._report.say(f"{len(missing)} feeds are not complete yet: reading them again for up to {settle_s:g} s")
        while missing and time.monotonic() < give_up_at:
            await asyncio.sleep(min(_READ_AGAIN_EVERY_S, settle_s))
            await work_through(list(missing), self._read_user, concurrency=self._concurrency)
            still = self._all_missing()
            if missing.keys() - still.keys():
                self._result.settled_s = time.monotonic() - began_at
            missing = still
            late |= missing.keys()
        return self._finished(missing, late, time.monotonic() - began_at)

    async def _read_all(self) -> None:
        with self._report.phase("feeds", self._result.users) as advance:

            async def step(user_id: int) -> None:
                await self._read_user(user_id)
                advance()

            await work_through(list(self._oracle.usernames), step, concurrency=self._concurrency)

    async def _read_user(self, user_id: int) -> None:
        posts = len(self._oracle.by_digest)
        try:
            feed = await read_feed(self._client, self._mint(user_id), page_size=self._page_size, posts=posts)
        except ApiError as error:
            self._wrong[Difference(user_id, self._oracle.usernames[user_id], Kind.UNREADABLE, 0, str(error))] = None
            return
        self._result.pages += len(feed.pages)
        self._result.items += len(feed.items)
        differences = compare(feed, user_id, self._oracle, self._page_size)
        self._missing[user_id] = [difference for difference in differences if difference.kind is Kind.MISSING]
        self._wrong |= dict.fromkeys(difference for difference in differences if difference.kind is not Kind.MISSING)
        self._made_as[user_id] = doubtful_posts(feed, self._oracle)

    def _all_missing(self) -> dict[int, list[Difference]]:
        """Give what is missing from whose feed, posts in doubt included that some feed shows and another does not."""
        made_as = {number: post_id for seen in self._made_as.values() for number, post_id in seen.items()}
        self._result.posts_found = len(made_as)
        missing = {user_id: list(differences) for user_id, differences in self._missing.items() if differences}
        if made_as:
            for user_id, seen in self._made_as.items():
                self._add_doubtful(user_id, seen, made_as, missing)
        return missing

    def _add_doubtful(
        self, user_id: int, seen: dict[int, int], made_as: dict[int, int], missing: dict[int, list[Difference]]
    ) -> None:
        author_ids = self._oracle.expected(user_id).author_ids
        username = self._oracle.usernames[user_id]
        for posted in self._oracle.by_digest.values():
            if posted.number not in made_as or posted.author_id not in author_ids:
                continue
            post_id = made_as[posted.number]
            if posted.number not in seen:
                detail = f"post {posted.number} of the journal was never acknowledged, but others see it"
                missing.setdefault(user_id, []).append(Difference(user_id, username, Kind.MISSING, post_id, detail))
            elif seen[posted.number] != post_id:
                detail = f"post {posted.number} of the journal, which others see as {post_id}"
                self._wrong[Difference(user_id, username, Kind.TWICE, seen[posted.number], detail)] = None

    def _finished(self, missing: dict[int, list[Difference]], late: set[int], seconds: float) -> Result:
        result = self._result
        result.seconds = seconds
        result.late_users = len(late - missing.keys())
        result.differences = [*self._wrong, *(difference for differences in missing.values() for difference in differences)]
        result.differences.sort(key=lambda difference: difference.user_id)
        return result
