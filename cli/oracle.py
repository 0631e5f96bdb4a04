"""Works out from a journal alone what every feed must hold, knowing nothing of how a mesh does it.

A feed holds the posts of everybody its user follows and the user's own, each once, newest first, which is by descending id. What
was acknowledged must be there. What was asked and never answered may be there, but then for all or for nobody.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cli.journal import Facts


@dataclass(frozen=True, slots=True)
class Posted:
    """A post of the journal: its number there, its author's user id, and its id, or 0 when that was never told."""

    number: int
    author_id: int
    digest: str
    post_id: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What one user's feed must hold, in order, and what else it may hold.

    `doubtful_author_ids` are those whom the user asked to follow without getting an answer.
    """

    post_ids: list[int]
    author_ids: frozenset[int]
    doubtful_author_ids: frozenset[int]

    def may_show(self, author_id: int) -> bool:
        """Whether an author's posts are allowed in the feed."""
        return author_id in self.author_ids or author_id in self.doubtful_author_ids


class Oracle:
    """The expected feeds of everybody in a journal."""

    def __init__(self, facts: Facts) -> None:
        ids = facts.user_ids
        self.usernames: Mapping[int, str] = {user_id: facts.usernames[user] for user, user_id in ids.items()}
        self._followees = _by_follower(facts.follows, ids)
        self._doubtful = _by_follower(facts.asked_follows - facts.follows, ids)
        self.posts: dict[int, Posted] = {}
        self.by_digest: dict[str, Posted] = {}
        self._ids_by_author: dict[int, list[int]] = defaultdict(list)
        for number, asked in facts.asked_posts.items():
            self._add(Posted(number, ids[asked.author], asked.digest, facts.post_ids.get(number, 0)))

    def _add(self, posted: Posted) -> None:
        self.by_digest[posted.digest] = posted
        if posted.post_id:
            self.posts[posted.post_id] = posted
            self._ids_by_author[posted.author_id].append(posted.post_id)

    def expected(self, user_id: int) -> Expected:
        """Work out one user's feed."""
        authors = self._followees.get(user_id, set()) | {user_id}
        return Expected(
            post_ids=sorted({post_id for author in authors for post_id in self.post_ids_of(author)}, reverse=True),
            author_ids=frozenset(authors),
            doubtful_author_ids=frozenset(self._doubtful.get(user_id, set()) - authors),
        )

    def post_ids_of(self, author_id: int) -> Sequence[int]:
        """Give the ids of an author's acknowledged posts, in no particular order."""
        return self._ids_by_author.get(author_id, ())


def _by_follower(edges: Iterable[tuple[int, int]], ids: Mapping[int, int]) -> dict[int, set[int]]:
    followees: dict[int, set[int]] = defaultdict(set)
    for follower, followee in edges:
        followees[ids[follower]].add(ids[followee])
    return followees
