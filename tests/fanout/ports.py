"""The follow graph and the timelines, as fan-out sees them: in memory, recording, and failing when told to."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from fanout_svc.domain import Chunk, FollowerRange, Position
from meshkit.buckets import bucket_of
from meshkit.errors import UnavailableError

AWAY = UnavailableError("away", reason="AWAY")


class Followers:
    """A follow graph. It implements the port Followers."""

    def __init__(self) -> None:
        self.of: dict[int, list[Position]] = {}

    def set(self, user_id: int, follower_ids: Iterable[int]) -> None:
        """Say who follows a user."""
        positions = [Position(bucket_of(follower), follower) for follower in follower_ids]
        self.of[user_id] = sorted(positions, key=_order)

    async def count(self, user_id: int) -> int:
        """Count a user's followers."""
        return len(self.of.get(user_id, []))

    async def page(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[Sequence[int], Position | None]:
        """Give followers inside a range, and where to go on; None at its end."""
        inside = [position for position in self.of.get(user_id, []) if contains(within, position)]
        following = inside[limit] if len(inside) > limit else None
        return [position.user_id for position in inside[:limit]], following


class Timelines:
    """Timelines that remember every push. It implements the port Timelines.

    `failures` are raised by the next pushes, one each; `poison` makes every push of an author's posts fail.
    """

    def __init__(self) -> None:
        self.authors: list[tuple[int, int]] = []
        self.pushed: list[tuple[int, int]] = []
        self.author_of: dict[int, int] = {}
        self.failures: deque[Exception] = deque()
        self.poison: set[int] = set()

    async def push_author(self, post_id: int, author_id: int) -> None:
        """Note a post among its author's own."""
        self._fail(author_id)
        self.authors.append((post_id, author_id))

    async def push(self, post_id: int, author_id: int, user_ids: Sequence[int]) -> int:
        """Put a post into home timelines."""
        assert (post_id, author_id) in self.authors, "followers were pushed to before the author"
        self._fail(author_id)
        self.author_of[post_id] = author_id
        self.pushed += [(post_id, user_id) for user_id in user_ids]
        return len(user_ids)

    def times(self, post_id: int) -> Counter[int]:
        """Count how often each follower got a post."""
        return Counter(user_id for pushed, user_id in self.pushed if pushed == post_id)

    def _fail(self, author_id: int) -> None:
        if self.failures:
            raise self.failures.popleft()
        if author_id in self.poison:
            raise ValueError("poisoned")


class Lost:
    """A queue of chunks that forgets them. It implements the port Chunks."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []

    async def send(self, chunk: Chunk) -> None:
        """Take a chunk, for nobody."""
        self.chunks.append(chunk)


class Failing:
    """A queue of chunks that fails when told to. It implements the port Chunks."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.fail = asyncio.Event()
        self.tried: set[int] = set()

    async def send(self, chunk: Chunk) -> None:
        """Wait, and fail."""
        self.tried.add(chunk.job_id)
        self.asked.set()
        await self.fail.wait()
        raise UnavailableError("the queue is away", reason="AWAY")


def contains(within: FollowerRange, position: Position) -> bool:
    """Tell whether a position is inside a half-open range."""
    after_start = within.start is None or _order(position) >= _order(within.start)
    return after_start and (within.end is None or _order(position) < _order(within.end))


def _order(position: Position) -> tuple[int, int]:
    return position.bucket, position.user_id
