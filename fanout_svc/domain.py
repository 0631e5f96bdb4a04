"""Jobs, and how an author's followers are cut into chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from meshkit.buckets import BUCKETS

_BULK = 20


class Delivery(Enum):
    """How a post gets into feeds."""

    PUSH = "push"
    PULL = "pull"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class NewPost:
    """A post that was made, and how it was decided then that it gets into feeds."""

    post_id: int
    author_id: int
    delivery: Delivery = Delivery.PUSH


@dataclass(frozen=True, slots=True)
class Turn:
    """An author's turn to being pulled: the followers' timelines have to be marked. `turn` counts all turns of all authors."""

    event_id: int
    author_id: int
    turn: int


@dataclass(frozen=True, slots=True)
class AuthorDelivery:
    """How an author's next posts get into feeds, and since which turn."""

    delivery: Delivery
    turn: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place among an account's followers, ordered by bucket and id."""

    bucket: int
    user_id: int = 0


@dataclass(frozen=True, slots=True)
class FollowerRange:
    """A half-open part of an author's followers; None is an open end."""

    start: Position | None = None
    end: Position | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a job. `turn` is 0 for a post."""

    job_id: int
    author_id: int
    index: int
    chunk_count: int
    range: FollowerRange
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """Delivering a post, whose id is the job's, or marking an author as pulled at a turn: then the id is that of the event.

    `turn` is 0 for a post. Times are Unix milliseconds; `finished_ms` is 0 while it runs. `delivered_count`, the timelines
    that were reached, is noted with the end.
    """

    job_id: int
    author_id: int
    chunk_count: int
    follower_count: int
    created_ms: int
    finished_ms: int = 0
    turn: int = 0
    delivered_count: int = 0

    def chunks(self) -> Iterator[Chunk]:
        """Cut the followers into ranges of equally many buckets.

        The first and the last range are open-ended and the others meet: whoever follows is in exactly one. The cut depends on
        nothing but the number of chunks, so it is the same whenever a chunk is sent again.
        """
        edges = [Position(BUCKETS * index // self.chunk_count) for index in range(1, self.chunk_count)]
        for index, (start, end) in enumerate(zip([None, *edges], [*edges, None], strict=True)):
            yield Chunk(self.job_id, self.author_id, index, self.chunk_count, FollowerRange(start, end), self.turn)


def chunk_count_for(followers: int, chunk_size: int) -> int:
    """Tell into how many chunks of about `chunk_size` followers to cut: at least one, at most one a bucket."""
    return max(1, min(BUCKETS, -(-followers // chunk_size)))


def is_bulk(chunk_count: int) -> bool:
    """Tell whether a job is so large that it has a queue and workers of its own, and smaller ones never wait for it."""
    return chunk_count > _BULK
