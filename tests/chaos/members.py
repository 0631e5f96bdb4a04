"""The community while it lives: ids, followers and posts by member number, as far as answers told."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.chaos.calls import Caller
from tests.chaos.community import Plan, Size, steady

_Job = TypeVar("_Job")
_AT_ONCE = 64


class SetupError(Exception):
    """The community could not be made."""


@dataclass(slots=True)
class Members:
    """What clients know of each other."""

    ids: list[int]
    steady_followers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    posts: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    published: list[int] = field(default_factory=list)

    def note(self, author: int, post: int) -> None:
        """Remember a post."""
        if post:
            self.posts[author].append(post)
            self.published.append(post)


async def settled(caller: Caller, plan: Plan, size: Size) -> Members:
    """Make all accounts, first follows and first posts, and let a part of the members read. Raises SetupError."""
    members = Members([0] * size.users)

    async def join(member: int) -> None:
        # Any valid token counts as a user of its own, so that no limit for strangers is met.
        members.ids[member] = (await caller.write("setup", "user", member + 1, whom=member)).made
        if not members.ids[member]:
            raise SetupError(f"member {member} got no account")

    async def follow(edge: tuple[int, int]) -> None:
        follower, followee = edge
        await caller.write("setup", "follow", members.ids[follower], whom=members.ids[followee])
        if steady(follower, followee):
            members.steady_followers[followee].append(follower)

    async def post(author: int) -> None:
        members.note(author, (await caller.write("setup", "post", members.ids[author])).made)

    async def read(member: int) -> None:
        await caller.read("setup", "feed", members.ids[member], pages=1)

    await all_of(range(size.users), join)
    await all_of(plan.follows, follow)
    await all_of(plan.readers, read)
    await all_of(plan.early_authors, post, size.posters)
    return members


async def all_of(jobs: Iterable[_Job] | Sequence[_Job], do: Callable[[_Job], Awaitable[None]], at_once: int = _AT_ONCE) -> None:
    """Do every job, some at a time."""
    shared = iter(jobs)

    async def worker() -> None:
        for job in shared:
            await do(job)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
