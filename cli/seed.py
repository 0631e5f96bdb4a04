"""Fills a mesh with a community through REST: users, a first look at every feed, follows, posts."""

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cli import journal as log
from cli.client import ALREADY_EXISTS, NOT_FOUND, Client
from cli.community import Plan
from cli.journal import Facts, Journal
from cli.progress import Reporter
from cli.transport import ApiError
from cli.workers import work_through

_Job = TypeVar("_Job")

# The mesh remembers request ids for a day; after that, asking again could publish a second time.
_ASK_AGAIN_WITHIN_S = 23 * 3600

Mint = Callable[[int], str]


class SeedError(Exception):
    """The community cannot be put into this mesh; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a seed did in this run, and what it left in doubt for good."""

    users: int
    follows: int
    posts: int
    posts_in_doubt: int
    seconds: float


async def seed(
    client: Client,
    mint: Mint,
    plan: Plan,
    journal: Journal,
    *,
    concurrency: int,
    report: Reporter,
    now_s: Callable[[], float] = time.time,
) -> Summary:
    """Make what the plan says and the journal does not yet know as made; give counts.

    What was asked before and never answered is asked again under the same request id, for as long as the mesh remembers those.

    Raises:
        SeedError: the journal is of another plan or mesh, or a username is taken.
        ApiError: the mesh refused something else.
        UnansweredError: it stayed away too long. The same seed, run again, goes on from there.

    """
    return await _Seed(client, functools.cache(mint), plan, journal, concurrency, report).run(int(now_s()))


async def check_mesh(client: Client, mint: Mint, facts: Facts) -> None:
    """Check that a journal's first user exists in this mesh.

    Raises:
        SeedError: there is no such user, or it has another name.

    """
    for user, user_id in facts.user_ids.items():
        try:
            found = (await client.get_user(user_id, token=mint(user_id))).username
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            found = "not there"
        if found != facts.usernames[user]:
            raise SeedError(
                f"user {user_id}, {facts.usernames[user]} in the journal, is {found} in this mesh: its data were lost, or the "
                "journal is of another mesh; give another --journal, or move it away"
            )
        return


class _Seed:
    def __init__(self, client: Client, mint: Mint, plan: Plan, journal: Journal, concurrency: int, report: Reporter) -> None:
        self._client = client
        self._mint = mint
        self._plan = plan
        self._journal = journal
        self._facts = journal.facts
        self._concurrency = concurrency
        self._report = report

    async def run(self, now_s: int) -> Summary:
        began_at = time.monotonic()
        await self._begin(now_s)
        users = await self._phase("users", self._users_to_make(), self._make_user)
        follows = [edge for edge in self._plan.follows if edge not in self._facts.follows]
        stale, posts = self._posts_to_make(now_s)
        if follows or posts:
            # A mesh delivers to feeds that somebody reads: with a first look everybody has one.
            await self._phase("first looks", range(len(self._plan.usernames)), self._look)
        await self._phase("follows", follows, self._follow)
        await self._phase("posts", posts, self._post)
        return Summary(users, len(follows), len(posts), stale, time.monotonic() - began_at)

    async def _begin(self, now_s: int) -> None:
        if self._facts.plan and self._facts.plan != self._plan.name:
            raise SeedError(
                "the journal is of another community: give the options it was seeded with, or another --journal (and --prefix)"
            )
        await check_mesh(self._client, self._mint, self._facts)
        if not self._facts.plan:
            self._journal.write(log.Seeded(self._plan.name))
        self._journal.write(log.Started(now_s))

    def _users_to_make(self) -> list[int]:
        return [user for user in range(len(self._plan.usernames)) if user not in self._facts.user_ids]

    def _posts_to_make(self, now_s: int) -> tuple[int, list[int]]:
        """Give how many posts stay in doubt for good, and those to make."""
        missing = [post for post in range(len(self._plan.authors)) if post not in self._facts.post_ids]
        asked_at_s = self._facts.asked_at_s
        fresh = [post for post in missing if now_s - asked_at_s.get(post, now_s) < _ASK_AGAIN_WITHIN_S]
        return len(missing) - len(fresh), fresh

    async def _phase(self, title: str, jobs: Sequence[_Job], do: Callable[[_Job], Awaitable[None]]) -> int:
        if not jobs:
            return 0
        with self._report.phase(title, len(jobs)) as advance:

            async def step(job: _Job) -> None:
                await do(job)
                advance()

            await work_through(jobs, step, concurrency=self._concurrency)
        return len(jobs)

    async def _make_user(self, user: int) -> None:
        username = self._plan.usernames[user]
        if user not in self._facts.usernames:
            self._journal.write(log.UserAsked(user, username))
        request_id = f"{self._plan.name}-u{user}"
        try:
            user_id = await self._client.create_user(username, display_name=f"User {user}", request_id=request_id)
        except ApiError as error:
            if error.code == ALREADY_EXISTS:
                raise SeedError(f"the username {username} is taken in this mesh: give a --prefix and another --journal") from None
            raise
        self._journal.write(log.UserMade(user, user_id))

    async def _look(self, user: int) -> None:
        await self._client.feed_page(token=self._token(user), page_size=1)

    async def _follow(self, edge: tuple[int, int]) -> None:
        follower, followee = edge
        if edge not in self._facts.asked_follows:
            self._journal.write(log.FollowAsked(follower, followee))
        request_id = f"{self._plan.name}-f{follower}-{followee}"
        followee_id = self._facts.user_ids[followee]
        await self._client.create_follow(followee_id, token=self._token(follower), request_id=request_id)
        self._journal.write(log.FollowMade(follower, followee))

    async def _post(self, post: int) -> None:
        author, content = self._plan.authors[post], self._plan.content(post)
        if post not in self._facts.asked_posts:
            self._journal.write(log.PostAsked(post, author, log.digest(content)))
        request_id = f"{self._plan.name}-p{post}"
        post_id = await self._client.create_post(content, token=self._token(author), request_id=request_id)
        self._journal.write(log.PostMade(post, post_id))

    def _token(self, user: int) -> str:
        return self._mint(self._facts.user_ids[user])
