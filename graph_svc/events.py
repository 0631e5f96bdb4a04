"""The graph's events as messages."""

from feed.event.v1 import event_pb2

from graph_svc.domain import FeedChanged
from meshkit.outbox import Event
from meshkit.topics import FOLLOW_CHANGED


def encode(event_id: int, changed: FeedChanged) -> Event:
    """Encode that an author's posts came into a feed or went."""
    body = event_pb2.FollowChanged(
        follower_id=changed.viewer_id,
        followee_id=changed.author_id,
        edge_version=changed.version,
        following=changed.in_feed,
    )
    return Event(event_id, FOLLOW_CHANGED, event_pb2.Event(event_id=event_id, follow_changed=body).SerializeToString())
