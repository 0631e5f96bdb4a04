"""How a tie is changed: from what was seen to what shall be, in operations of one atomic write."""

from dataclasses import dataclass

from graph_svc.domain import Relation, Tie
from graph_svc.tie_rows import block_key, encode_tie, followers_key, left_key, mute_key, request_keys, tie_key
from graph_svc.user_rows import follower_count_key, follower_shard, following_count_key, private_key
from meshkit.clock import now_ms
from meshkit.ids import id_bytes
from meshkit.table.port import Add, AtVersion, Check, Delete, Existence, Key, Operation, Put

# Longer than clocks of different machines, or of one before and after a restart, can be apart: so long versions are known to grow.
_ENDED_SECONDS = 7 * 86_400
# Longer than anything that was sent to a feed before a change can be on its way.
_LEFT_SECONDS = 2 * 3_600


@dataclass(frozen=True, slots=True)
class Seen:
    """A relation, and the condition that its tie is still the same."""

    relation: Relation
    unchanged: Existence | AtVersion


@dataclass(frozen=True, slots=True)
class Revision:
    """A tie that shall take the place of the one that was seen."""

    seen: Seen
    tie: Tie

    @property
    def feed_changes(self) -> bool:
        """Whether the author's posts come into the viewer's feed, or go."""
        return self.tie.in_feed != self.seen.relation.tie.in_feed

    @property
    def operations(self) -> list[Operation]:
        """What writes it, if what was seen still holds; at most 10."""
        relation, old, new = self.seen.relation, self.seen.relation.tie, self.tie
        viewer, author = relation.viewer_id, relation.author_id
        if new == old:
            return [Check(tie_key(viewer, author), self.seen.unchanged)]
        value = encode_tie(new)
        expires_at = None if new.stands else _after(_ENDED_SECONDS)
        followed, follows, asked, asks = map(bool, (old.follow_id, new.follow_id, old.request_id, new.request_id))
        begins = (follows and not followed) or (asks and not asked)
        return [
            Put(tie_key(viewer, author), value, condition=self.seen.unchanged, expires_at=expires_at),
            *(_guards(relation) if begins else []),
            *_listed([followers_key(author, viewer)], was=followed, shall=follows, value=value),
            *_counted(viewer, author, follows - followed),
            *_listed(request_keys(viewer, author), was=asked, shall=asks),
            *_listed([mute_key(viewer, author)], was=old.muted, shall=new.muted),
            *(self._left() if self.feed_changes else []),
        ]

    def _left(self) -> list[Operation]:
        """Note that the author left the feed, or is back: a feed that is made anew must take no older change for the last."""
        key = left_key(self.seen.relation.viewer_id, self.seen.relation.author_id)
        if not self.tie.in_feed or self.seen.relation.tie.version:
            return [Put(key, id_bytes(self.tie.version), expires_at=_after(_LEFT_SECONDS))]
        return []


def _after(seconds: float) -> float:
    return now_ms() / 1000 + seconds


def _guards(relation: Relation) -> list[Operation]:
    """Demand that what decided whether something may begin still holds."""
    viewer, author = relation.viewer_id, relation.author_id
    return [
        Check(block_key(viewer, author), Existence.ABSENT),
        Check(block_key(author, viewer), Existence.ABSENT),
        Check(private_key(author, follower_shard(viewer)), Existence.PRESENT if relation.author_private else Existence.ABSENT),
    ]


def _listed(keys: list[Key], *, was: bool, shall: bool, value: bytes = b"") -> list[Operation]:
    if shall and (value or not was):
        return [Put(key, value) for key in keys]
    return [Delete(key) for key in keys] if was and not shall else []


def _counted(viewer_id: int, author_id: int, change: int) -> list[Operation]:
    """Count an edge on both sides, on no row that all who follow the same user share: such writes get in each other's way."""
    if not change:
        return []
    return [
        Add(following_count_key(viewer_id), change),
        Add(follower_count_key(author_id, follower_shard(viewer_id)), change),
    ]
