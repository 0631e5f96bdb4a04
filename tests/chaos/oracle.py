"""How everything must have ended, from the definite answers alone. What stayed without an answer is left out, and counted."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf

from tests.chaos.history import ACTIVE, REQUESTED, History, Post


@dataclass(slots=True)
class Account:
    """One account's end. `doubtful` are other accounts to which its relation is not certain, in any list."""

    followers: set[int] = field(default_factory=set)
    following: set[int] = field(default_factory=set)
    requests: set[int] = field(default_factory=set)
    sent: set[int] = field(default_factory=set)
    blocks: set[int] = field(default_factory=set)
    mutes: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)


class Oracle:
    """The end that the log tells of."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.accounts: dict[int, Account] = defaultdict(Account)
        for (follower, followee), edge in history.edges.items():
            self._add(follower, followee, edge.last, doubtful=edge.doubtful)
        for pairs, which in ((history.mutes, "mutes"), (history.blocks, "blocks")):
            for (who, whom), register in pairs.items():
                if register.doubtful:
                    self._doubt(who, whom)
                elif register.last:
                    getattr(self.accounts[who], which).add(whom)

    def _add(self, follower: int, followee: int, value: str, *, doubtful: bool) -> None:
        if doubtful:
            self._doubt(follower, followee)
        elif value == ACTIVE:
            self.accounts[follower].following.add(followee)
            self.accounts[followee].followers.add(follower)
        elif value == REQUESTED:
            self.accounts[follower].sent.add(followee)
            self.accounts[followee].requests.add(follower)

    def _doubt(self, first: int, second: int) -> None:
        self.accounts[first].doubtful.add(second)
        self.accounts[second].doubtful.add(first)

    def authors(self, viewer: int) -> set[int]:
        """Give whose posts must be in a feed."""
        account = self.accounts[viewer]
        return (account.following - account.mutes - account.doubtful) | {viewer}

    def feed(self, viewer: int) -> list[int]:
        """Give the posts that must be in a feed, newest first."""
        return sorted((post for author in self.authors(viewer) for post in self.posts(author)), reverse=True)

    def posts(self, author: int) -> list[int]:
        """Give an author's posts, newest first."""
        posts = reversed(self._history.by_author.get(author, []))
        return [post.post_id for post in posts if not self.doubtful(post) and not self.gone(post)]

    def doubtful(self, post: Post) -> bool:
        """Tell whether it is not certain that a post was made, or that it was deleted."""
        return post.post_id == 0 or post.delete_begin < post.deleted == inf

    def gone(self, post: Post) -> bool:
        """Tell whether a post was deleted."""
        return post.deleted < inf

    def may_ignore(self, viewer: int, author: int, post_id: int) -> bool:
        """Tell whether a post may be in a feed or not: its author's place there, or the post itself, is in doubt."""
        post = self._history.posts.get(post_id)
        return author in self.accounts[viewer].doubtful or post is None or self.doubtful(post)
