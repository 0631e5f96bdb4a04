"""Why a post is in a home feed, or is not."""

from dataclasses import dataclass
from enum import Enum

from timeline_svc.home_timelines import HomeTimelines
from timeline_svc.ports import Graph, HomeWindow, PostFacts, Posts, Relation
from timeline_svc.pulled import PulledAuthors


class Reason(Enum):
    """Why, or why not, as a sentence about the post. The names are those of the contract."""

    OWN = "It is the user's own."
    PUSHED = "It was put into the timeline when it was written."
    PULLED = "Its author has so many followers that readers fetch the posts."
    REBUILT = "The timeline was made after the post was written, and took it from the tables."
    BACKFILLED = "The user came to follow the author, or ended a mute, after the post was written."
    OLDER = "It is older than what the timeline holds, and is read from the tables."
    DELETED = "It was deleted."
    NOT_FOLLOWING = "The user does not follow its author."
    REQUESTED = "The user has asked to follow its author, and was not answered yet."
    MUTED = "The user has muted its author."
    BLOCKED = "One of the two blocks the other."
    PRIVATE = "Its author's account is private, and the user is no follower."
    NOT_FOUND = "There never was such a post."
    NOT_VISIBLE = "There is no such post, or none that the user may see."
    ON_ITS_WAY = "It is on its way into the timeline."


SHOWN = frozenset({Reason.OWN, Reason.PUSHED, Reason.PULLED, Reason.REBUILT, Reason.BACKFILLED, Reason.OLDER})
# What tells of posts that the user may not see, or of what others decided about the user.
SECRET = frozenset({Reason.DELETED, Reason.REQUESTED, Reason.BLOCKED, Reason.PRIVATE, Reason.NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reason, and what is known of the post; nothing of one that never was."""

    reason: Reason
    post: PostFacts | None

    def for_the_user(self) -> "Explanation":
        """Leave out what the user may not know."""
        return Explanation(Reason.NOT_VISIBLE, None) if self.reason in SECRET else self


class Explainer:
    """Finds out why."""

    def __init__(self, timelines: HomeTimelines, pulled: PulledAuthors, graph: Graph, posts: Posts) -> None:
        self._timelines = timelines
        self._pulled = pulled
        self._graph = graph
        self._posts = posts

    async def explain(self, viewer_id: int, post_id: int) -> Explanation:
        """Explain a post to a viewer. Reads the timeline as a page does. Raises UnavailableError."""
        post = await self._posts.describe(post_id)
        if post is None:
            return Explanation(Reason.NOT_FOUND, None)
        if post.deleted:
            return Explanation(Reason.DELETED, post)
        if post.author_id == viewer_id:
            return Explanation(await self._way(viewer_id, post_id, post, Reason.OWN), post)
        relation = await self._graph.relation(viewer_id, post.author_id)
        if reason := _why_not(relation):
            return Explanation(reason, post)
        backfilled = Reason.BACKFILLED if relation.edge_version > post_id else None
        return Explanation(await self._way(viewer_id, post_id, post, backfilled), post)

    async def _way(self, viewer_id: int, post_id: int, post: PostFacts, known: Reason | None) -> Reason:
        """Tell how a post that belongs in a feed comes there; `known` is the reason if it is in the timeline."""
        home = await self._timelines.read(viewer_id, None)
        window = home.window
        if window is None or post_id < window.floor:
            return Reason.OWN if known is Reason.OWN else Reason.OLDER
        if post_id in window.post_ids and post.author_id not in home.sources.hidden:
            return known or (Reason.REBUILT if home.sources.began > post_id else Reason.PUSHED)
        return Reason.PULLED if await self._is_pulled(home, post_id, post.author_id) else Reason.ON_ITS_WAY

    async def _is_pulled(self, home: HomeWindow, post_id: int, author_id: int) -> bool:
        if author_id not in home.sources.marks or author_id in home.sources.hidden:
            return False
        recent = (await self._pulled.recent([author_id]))[author_id]
        return post_id < recent.floor or post_id in recent.post_ids


def _why_not(relation: Relation) -> Reason | None:
    """Tell what keeps an author's posts out of a viewer's feed, if anything does."""
    if relation.in_feed:
        return None
    if relation.blocking or relation.blocked:
        return Reason.BLOCKED
    if not relation.can_view:
        return Reason.REQUESTED if relation.requested else Reason.PRIVATE
    return Reason.MUTED if relation.muted and relation.following else Reason.NOT_FOLLOWING
