"""The events of posts as messages."""

from feed.event.v1 import event_pb2

from meshkit.outbox import Event
from meshkit.topics import POST_CHANGED, POST_CREATED
from post_svc.domain import PostCreated, PostEvent


def encode(event_id: int, event: PostEvent) -> Event:
    """Encode an event. That a post changed is a broadcast: it concerns only who holds a copy."""
    if isinstance(event, PostCreated):
        created = event_pb2.PostCreated(post_id=event.post_id, author_id=event.author_id)
        return Event(event_id, POST_CREATED, event_pb2.Event(event_id=event_id, post_created=created).SerializeToString())
    changed = event_pb2.PostChanged(post_id=event.post_id, version=event.version)
    body = event_pb2.Event(event_id=event_id, post_changed=changed).SerializeToString()
    return Event(event_id, POST_CHANGED, body, broadcast=True)
