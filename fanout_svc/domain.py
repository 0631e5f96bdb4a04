"""Jobs, and how an author's followers are cut into chunks."""

from collections.abc import Iterator
from dataclasses import dataclass

from meshkit.buckets import BUCKETS


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
    """A part of a job."""

    job_id: int
    author_id: int
    index: int
    chunk_count: int
    range: FollowerRange


@dataclass(frozen=True, slots=True)
class Job:
    """Delivering one post; its id is the post's. Times are Unix milliseconds; `finished_ms` is 0 while it runs."""

    job_id: int
    author_id: int
    chunk_count: int
    follower_count: int
    created_ms: int
    finished_ms: int = 0

    def chunks(self) -> Iterator[Chunk]:
        """Cut the followers into ranges of equally many buckets.

        The first and the last range are open-ended and the others meet: whoever follows is in exactly one. The cut depends on
        nothing but the number of chunks, so it is the same whenever a chunk is sent again.
        """
        edges = [Position(BUCKETS * index // self.chunk_count) for index in range(1, self.chunk_count)]
        for index, (start, end) in enumerate(zip([None, *edges], [*edges, None], strict=True)):
            yield Chunk(self.job_id, self.author_id, index, self.chunk_count, FollowerRange(start, end))


def chunk_count_for(followers: int, chunk_size: int) -> int:
    """Tell into how many chunks of about `chunk_size` followers to cut: at least one, at most one a bucket."""
    return max(1, min(BUCKETS, -(-followers // chunk_size)))
