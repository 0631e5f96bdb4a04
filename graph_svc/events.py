"""The graph's events as messages."""

from feed.event.v1 import event_pb2

from graph_svc.domain import FollowChanged
from meshkit.outbox import Event
from meshkit.topics import FOLLOW_CHANGED


def encode(event_id: int, changed: FollowChanged) -> Event:
    """Encode that an edge came or went."""
    body = event_pb2.FollowChanged(
        follower_id=changed.follow.follower_id,
        followee_id=changed.follow.followee_id,
        edge_version=changed.follow.version,
        following=changed.following,
    )
    return Event(event_id, FOLLOW_CHANGED, event_pb2.Event(event_id=event_id, follow_changed=body).SerializeToString())
