"""The graph's services above a table, for tests of what happens between a look and a write; and such a table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from graph_svc.accounts import UserService
from graph_svc.blocks import BlockService
from graph_svc.changes import Changes
from graph_svc.domain import Profile
from graph_svc.events import encode
from graph_svc.follow_requests import FollowRequestService
from graph_svc.follows import FollowService
from graph_svc.lost_feeds import LostFeeds
from graph_svc.mutes import MuteService
from graph_svc.ties import TieRepository
from graph_svc.user_rows import UserRepository
from graph_svc.visibility import VisibilityService
from meshkit.ids import IdGenerator
from meshkit.outbox import Outbox
from meshkit.table.port import Operation, Table
from tests.through import Through


class PatientFeeds:
    """Feeds that take whatever they are told."""

    async def hide(self, viewer_id: int, author_id: int, version: int) -> None:
        """Keep an author out of a feed."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The graph's services."""

    accounts: UserService
    follows: FollowService
    requests: FollowRequestService
    blocks: BlockService
    mutes: MuteService
    visibility: VisibilityService

    async def people(self, *names: str) -> list[int]:
        """Make accounts."""
        return [(await self.accounts.create(Profile(name), None)).user_id for name in names]


def graph_parts(table: Table, outbox: Outbox, ids: IdGenerator) -> Parts:
    """Put the services together."""
    users, ties = UserRepository(table), TieRepository(table)
    changes, feeds = Changes(table, ids, outbox, encode), LostFeeds(ties, PatientFeeds())
    return Parts(
        UserService(table, users, ids),
        FollowService(users, ties, changes, feeds),
        FollowRequestService(users, ties, changes),
        BlockService(users, ties, changes, feeds),
        MuteService(users, ties, changes, feeds),
        VisibilityService(ties),
    )


class Interrupted(Through):
    """A table on which something else happens just before the first write."""

    def __init__(self, table: Table, event: Callable[[], Awaitable[object]]) -> None:
        super().__init__(table)
        self._event: Callable[[], Awaitable[object]] | None = event

    async def write(self, *operations: Operation) -> None:
        """Write, but let the other come first."""
        event, self._event = self._event, None
        if event:
            await event()
        await super().write(*operations)
