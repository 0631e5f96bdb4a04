"""What fan-out needs from others. Methods raise `meshkit.errors.UnavailableError` when they do not answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fanout_svc.domain import AuthorDelivery, Chunk, Delivery, FollowerRange, Position


class Followers(Protocol):
    """The follow graph."""

    async def count(self, user_id: int) -> int:
        """Count a user's followers; 0 for a user without an account."""

    async def few(self, user_id: int, *, limit: int) -> Sequence[int] | None:
        """Give all followers if they are fewer than `limit`; perhaps None if they are, and always if they are not."""

    async def page(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[Sequence[int], Position | None]:
        """Give followers inside a range, and where to go on; None at its end."""


class Timelines(Protocol):
    """The timelines."""

    async def push_author(self, post_id: int, author_id: int) -> None:
        """Note a post among its author's own; done before it is pushed to followers."""

    async def push(self, post_id: int, author_id: int, user_ids: Sequence[int]) -> int:
        """Put a post into home timelines, and tell how many hold it."""

    async def mark_pulled(self, author_id: int, turn: int, user_ids: Sequence[int]) -> int:
        """Note in home timelines that an author is pulled since a turn, and tell how many are marked."""


class Deliveries(Protocol):
    """How authors' posts get into feeds."""

    async def get(self, author_id: int) -> AuthorDelivery:
        """Give how an author's next posts get into feeds."""

    async def turn(self, author_id: int, delivery: Delivery) -> AuthorDelivery:
        """Turn an author to PUSH or PULL, unless an operator decided; give what holds then. Fails rather than wait."""

    async def finish_turn(self, author_id: int, turn: int) -> None:
        """Tell that every timeline is marked for a turn."""


class Chunks(Protocol):
    """The queues of chunks."""

    async def send(self, chunk: Chunk) -> None:
        """Queue a chunk for some worker; when this returns it is safe."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The other services."""

    followers: Followers
    timelines: Timelines
    deliveries: Deliveries
