"""What operators are shown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """Work on the timelines of an author's followers. `kind` is post or turn, `age_s` how long it has been running, or took."""

    job_id: int
    kind: str
    author_id: int
    running: bool
    chunks: int
    done_chunks: int
    followers: int
    delivered: int
    age_s: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a queue gave up; `told` is what it says."""

    topic: str
    reason: str
    told: str


@dataclass(frozen=True, slots=True)
class AuthorCost:
    """An author, and how the posts get into feeds: now, and with the threshold that was asked about."""

    author_id: int
    followers: int
    active: int
    posts_a_day: float
    now: str
    then: str


@dataclass(frozen=True, slots=True)
class ThresholdPreview:
    """What a threshold would do."""

    threshold: int
    authors: Sequence[AuthorCost]
    deliveries_a_day: float
    merges_a_day: float


@dataclass(frozen=True, slots=True)
class AuthorDelivery:
    """How an author's next posts get into feeds. `turn` is 0 if the author never turned."""

    delivery: str
    turn: int
    forced: bool
