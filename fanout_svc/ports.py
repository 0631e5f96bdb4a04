"""What fan-out needs from others. Methods raise `meshkit.errors.UnavailableError` when they do not answer."""

from collections.abc import Sequence
from typing import Protocol

from fanout_svc.domain import Chunk, FollowerRange, Position


class Followers(Protocol):
    """The follow graph."""

    async def count(self, user_id: int) -> int:
        """Count a user's followers; 0 for a user without an account."""

    async def page(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[Sequence[int], Position | None]:
        """Give followers inside a range, and where to go on; None at its end."""


class Timelines(Protocol):
    """The timelines."""

    async def push_author(self, post_id: int, author_id: int) -> None:
        """Note a post among its author's own; done before it is pushed to followers."""

    async def push(self, post_id: int, author_id: int, user_ids: Sequence[int]) -> int:
        """Put a post into home timelines, and tell how many hold it."""


class Chunks(Protocol):
    """The queue of chunks."""

    async def send(self, chunk: Chunk) -> None:
        """Queue a chunk for some worker; when this returns it is safe."""
