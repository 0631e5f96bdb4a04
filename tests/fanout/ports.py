"""The follow graph and the timelines, as fan-out sees them: in memory, recording, and failing when told to."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from fanout_svc.domain import AuthorDelivery, Chunk, Delivery, FollowerRange, Position
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

    async def few(self, user_id: int, *, limit: int) -> Sequence[int] | None:
        """Give all followers, or None if there are more than `limit`."""
        follower_ids, further = await self.page(user_id, FollowerRange(), limit=limit)
        return None if further else follower_ids

    async def page(self, user_id: int, within: FollowerRange, *, limit: int) -> tuple[Sequence[int], Position | None]:
        """Give followers inside a range, and where to go on; None at its end."""
        inside = [position for position in self.of.get(user_id, []) if contains(within, position)]
        following = inside[limit] if len(inside) > limit else None
        return [position.user_id for position in inside[:limit]], following


class Timelines:
    """Timelines that remember every push. It implements the port Timelines.

    `failures` are raised by the next pushes, one each; `poison` makes every push of an author's posts fail; those of `held`
    authors wait until they are let go. Who is `missing` has no timeline. Of authors in `only_followers`
    the own timeline never fails.
    """

    def __init__(self) -> None:
        self.authors: list[tuple[int, int]] = []
        self.pushed: list[tuple[int, int]] = []
        self.marked: list[tuple[int, int, int]] = []
        self.missing: set[int] = set()
        self.only_followers: set[int] = set()
        self.author_of: dict[int, int] = {}
        self.failures: deque[Exception] = deque()
        self.poison: set[int] = set()
        self.held: dict[int, asyncio.Event] = {}
        self.at_once: Counter[int] = Counter()
        self.most_at_once: Counter[int] = Counter()

    async def push_author(self, post_id: int, author_id: int) -> None:
        """Note a post among its author's own."""
        if author_id not in self.only_followers:
            self._fail(author_id)
        self.authors.append((post_id, author_id))

    async def push(self, post_id: int, author_id: int, user_ids: Sequence[int]) -> int:
        """Put a post into home timelines."""
        assert (post_id, author_id) in self.authors, "followers were pushed to before the author"
        await self._arrived(author_id)
        self.author_of[post_id] = author_id
        self.pushed += [(post_id, user_id) for user_id in user_ids]
        return len(set(user_ids) - self.missing)

    async def mark_pulled(self, author_id: int, turn: int, user_ids: Sequence[int]) -> int:
        """Mark an author in home timelines."""
        await self._arrived(author_id)
        self.marked += [(author_id, turn, user_id) for user_id in user_ids]
        return len(set(user_ids) - self.missing)

    def times(self, post_id: int) -> Counter[int]:
        """Count how often each follower got a post."""
        return Counter(user_id for pushed, user_id in self.pushed if pushed == post_id)

    def times_marked(self, author_id: int, turn: int) -> Counter[int]:
        """Count how often each follower was told of a turn."""
        return Counter(user_id for author, marked, user_id in self.marked if (author, marked) == (author_id, turn))

    async def _arrived(self, author_id: int) -> None:
        self.at_once[author_id] += 1
        self.most_at_once[author_id] = max(self.most_at_once[author_id], self.at_once[author_id])
        try:
            if author_id in self.held:
                await self.held[author_id].wait()
            self._fail(author_id)
        finally:
            self.at_once[author_id] -= 1

    def _fail(self, author_id: int) -> None:
        if self.failures:
            raise self.failures.popleft()
        if author_id in self.poison:
            raise ValueError("poisoned")


class Deliveries:
    """How authors' posts get into feeds. It implements the port Deliveries.

    It notes who was asked about, turned and finished; `forced` authors do not turn; with `failure` nothing is answered.
    """

    def __init__(self) -> None:
        self.of: dict[int, AuthorDelivery] = {}
        self.forced: set[int] = set()
        self.asked: list[int] = []
        self.turned: list[tuple[int, Delivery]] = []
        self.finished: list[tuple[int, int]] = []
        self.failure: Exception | None = None

    async def get(self, author_id: int) -> AuthorDelivery:
        """Give how an author's next posts get into feeds."""
        self._fail()
        self.asked.append(author_id)
        return self.of.get(author_id, AuthorDelivery(Delivery.PUSH, 0))

    async def turn(self, author_id: int, delivery: Delivery) -> AuthorDelivery:
        """Turn an author."""
        self._fail()
        self.turned.append((author_id, delivery))
        now = self.of.get(author_id, AuthorDelivery(Delivery.PUSH, 0))
        if author_id not in self.forced and (delivery is Delivery.PUSH) != (now.delivery is Delivery.PUSH):
            last = max((each.turn for each in self.of.values()), default=0)
            self.of[author_id] = AuthorDelivery(Delivery.BOTH if delivery is Delivery.PULL else Delivery.PUSH, last + 1)
        return self.of.get(author_id, now)

    async def finish_turn(self, author_id: int, turn: int) -> None:
        """Note that every timeline is marked."""
        self._fail()
        self.finished.append((author_id, turn))
        if self.of.get(author_id) == AuthorDelivery(Delivery.BOTH, turn):
            self.of[author_id] = AuthorDelivery(Delivery.PULL, turn)

    def _fail(self) -> None:
        if self.failure:
            raise self.failure


class Lost:
    """A queue of chunks that forgets them. It implements the port Chunks."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []

    async def send(self, chunk: Chunk) -> None:
        """Take a chunk, for nobody."""
        self.chunks.append(chunk)


class Away(Lost):
    """A queue of chunks that is away until told otherwise."""

    away = True

    async def send(self, chunk: Chunk) -> None:
        """Take a chunk, unless it is away."""
        if self.away:
            raise UnavailableError("the queue is away", reason="AWAY")
        await super().send(chunk)


class Failing:
    """A queue of chunks that fails when told to. It implements the port Chunks."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.fail = asyncio.Event()
        self.tried: list[int] = []

    async def send(self, chunk: Chunk) -> None:
        """Wait, and fail."""
        self.tried.append(chunk.job_id)
        self.asked.set()
        await self.fail.wait()
        raise UnavailableError("the queue is away", reason="AWAY")


def contains(within: FollowerRange, position: Position) -> bool:
    """Tell whether a position is inside a half-open range."""
    after_start = within.start is None or _order(position) >= _order(within.start)
    return after_start and (within.end is None or _order(position) < _order(within.end))


def _order(position: Position) -> tuple[int, int]:
    return position.bucket, position.user_id
