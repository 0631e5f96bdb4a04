"""Where it is kept what ties users to each other.

* A *tie* is a row of the viewer's: `ties/{viewer}`, by author. Every change between the two writes it under the condition that it
  is as it was seen, so that changes of one tie come one after the other.
* What is listed in other ways has rows of its own, always written together with the tie: `followers/{author}`, `mutes/{viewer}`,
  `requests/{author}`, `requested/{viewer}`, and for two hours `left/{viewer}`, whose posts went out of the feed.
* A *block* is a row of its own, `blocks/{blocker}`, by blocked. Whatever begins between two demands that neither direction exists,
  and a block demands that the ties both ways are as it saw and cut them.
"""

from collections.abc import Iterable

import msgspec

from graph_svc.domain import FollowerPosition, Tie
from meshkit.ids import id_bytes
from meshkit.table.port import Key, Row

_TRUE = b"\xc3"


class _TieRow(msgspec.Struct, array_like=True):
    follow_id: int
    request_id: int
    muted: bool
    version: int


def block_key(blocker_id: int, blocked_id: int) -> Key:
    """Where a block is."""
    return Key(b"blocks/" + id_bytes(blocker_id), id_bytes(blocked_id))


def tie_key(viewer_id: int, author_id: int) -> Key:
    """Where a tie is."""
    return Key(b"ties/" + id_bytes(viewer_id), id_bytes(author_id))


def followers_key(author_id: int, viewer_id: int) -> Key:
    """Where an edge is listed for the author; its value is the tie."""
    return Key(b"followers/" + id_bytes(author_id), FollowerPosition.of(viewer_id).sort_key)


def request_keys(viewer_id: int, author_id: int) -> list[Key]:
    """Where a request to follow is listed, for either side."""
    viewer, author = id_bytes(viewer_id), id_bytes(author_id)
    return [Key(b"requests/" + author, viewer), Key(b"requested/" + viewer, author)]


def mute_key(viewer_id: int, author_id: int) -> Key:
    """Where a mute is listed."""
    return Key(b"mutes/" + id_bytes(viewer_id), id_bytes(author_id))


def left_key(viewer_id: int, author_id: int) -> Key:
    """Where it is noted for a while that an author's posts went out of a feed; its value is the version of that change."""
    return Key(b"left/" + id_bytes(viewer_id), id_bytes(author_id))


def encode_tie(tie: Tie) -> bytes:
    """Encode a tie."""
    return msgspec.msgpack.encode(_TieRow(tie.follow_id, tie.request_id, tie.muted, tie.version))


def fed(rows: Iterable[Row]) -> list[bytes]:
    """Give the sort keys of those of an author's listed edges whose followers' feeds have the author's posts.

    It is asked for every follower whenever an author posts, so that nothing is decoded in vain: all that keeps the posts out is
    that the follower muted the author, and that is the only place for msgpack's `true`, a byte that numbers have now and then.
    """
    return [sort for sort, value in rows if _TRUE not in value or decode_tie(value).in_feed]


def decode_tie(value: bytes) -> Tie:
    """Decode what `encode_tie` made."""
    row = msgspec.msgpack.decode(value, type=_TieRow)
    return Tie(row.follow_id, row.request_id, row.muted, row.version)
