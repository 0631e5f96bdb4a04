"""Who is pushed and who is pulled: a comparison of what either costs a day.

    pushing costs   active followers x posts a day           x push_cost_us
    pulling costs   active followers x reads a day and user  x merge_cost_us

Active are the followers who have a timeline: the others cost nothing either way. An author is pulled from `pull_threshold` active
followers on, if that is cheaper; and from ten times as many whatever it costs, because pushing would take too long. Back to push
the author turns below `push_threshold`, or when pulling costs twice as much as pushing: between the two nothing changes, so that
nobody turns to and fro.
"""

from dataclasses import dataclass, replace

from fanout_svc.domain import Delivery

_DAY_MS = 86_400_000
_TOO_LONG = 10  # times the threshold: who has more is pulled whatever it costs
_CLEARLY = 2.0
_RECENT = 0.3  # the weight of the newest gap between posts
_UNKNOWN_GAP_MS = _DAY_MS
_SHORTEST_GAP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Author:
    """What was seen of an author with many followers.

    Of the last push that is done: to how many followers it went, and how many timelines it reached; 0 and 0 when none is known.
    `gap_ms` is the mean gap between posts, the recent ones weighing most; 0 before the second post.
    """

    author_id: int
    follower_count: int
    pushed_count: int = 0
    reached_count: int = 0
    gap_ms: int = 0
    last_post_ms: int = 0

    @property
    def active_count(self) -> int:
        """How many followers have a timeline: the share that the last push found of those of today, or all when none was."""
        if not self.pushed_count:
            return self.follower_count
        return round(self.follower_count * min(1.0, self.reached_count / self.pushed_count))

    def posts_a_day(self, now_ms: int) -> float:
        """How often the author posts, of late; a silence that outlasts the usual gap counts as one."""
        gap_ms = max(self.gap_ms or _UNKNOWN_GAP_MS, now_ms - self.last_post_ms, _SHORTEST_GAP_MS)
        return _DAY_MS / gap_ms

    def posted(self, at_ms: int, follower_count: int) -> "Author":
        """Give what is known after another post."""
        gap_ms = self.gap_ms
        if self.last_post_ms:
            newest = max(1, at_ms - self.last_post_ms)
            gap_ms = max(1, round(gap_ms + _RECENT * (newest - gap_ms))) if gap_ms else newest
        return replace(self, follower_count=follower_count, gap_ms=gap_ms, last_post_ms=at_ms)

    def pushed(self, follower_count: int, reached_count: int) -> "Author":
        """Give what is known after a push that reached so many of so many followers."""
        return replace(self, pushed_count=follower_count, reached_count=reached_count)


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides between push and pull. Thresholds are active followers; costs are microseconds of CPU."""

    pull_threshold: int
    push_threshold: int
    reads_a_day: float
    push_cost_us: float
    merge_cost_us: float

    def decide(self, author: Author, now: Delivery, now_ms: int) -> Delivery:
        """Tell how the author's next posts should get into feeds, when they get there like `now` at present: PUSH or PULL."""
        active = author.active_count
        if now is Delivery.PUSH:
            return Delivery.PULL if self._turns_to_pull(author, active, now_ms) else Delivery.PUSH
        return Delivery.PUSH if self._turns_to_push(author, active, now_ms) else Delivery.PULL

    def merges_a_day(self, author: Author) -> float:
        """How many reads a day have to merge the author when it is pulled."""
        return author.active_count * self.reads_a_day

    def at(self, pull_threshold: int) -> "Policy":
        """Give the same policy with another threshold; that for turning back moves along."""
        push_threshold = self.push_threshold * pull_threshold // self.pull_threshold
        return replace(self, pull_threshold=pull_threshold, push_threshold=push_threshold)

    def _turns_to_pull(self, author: Author, active: int, now_ms: int) -> bool:
        if active >= _TOO_LONG * self.pull_threshold:
            return True
        return active >= self.pull_threshold and self._pull_cost(author) < self._push_cost(author, now_ms)

    def _turns_to_push(self, author: Author, active: int, now_ms: int) -> bool:
        if active < self.push_threshold:
            return True
        too_long = active >= _TOO_LONG * self.push_threshold
        return not too_long and self._pull_cost(author) > _CLEARLY * self._push_cost(author, now_ms)

    def _push_cost(self, author: Author, now_ms: int) -> float:
        return deliveries_a_day(author, now_ms) * self.push_cost_us

    def _pull_cost(self, author: Author) -> float:
        return self.merges_a_day(author) * self.merge_cost_us


def deliveries_a_day(author: Author, now_ms: int) -> float:
    """How many timelines a day get a post of the author when it is pushed."""
    return author.active_count * author.posts_a_day(now_ms)
