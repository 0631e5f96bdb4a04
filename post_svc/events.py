"""The events of posts as messages."""

from feed.event.v1 import event_pb2
from feed.post.v1.delivery_pb2 import Delivery

from meshkit.outbox import Event
from meshkit.topics import AUTHOR_TURNED, POST_CHANGED, POST_CREATED
from post_svc.domain import AuthorTurned, PostChanged, PostCreated, PostEvent


def encode(event_id: int, event: PostEvent) -> Event:
    """Encode an event. That a post changed is a broadcast: it concerns only who holds a copy."""
    message = event_pb2.Event(event_id=event_id)
    match event:
        case PostCreated(post_id, author_id, delivery):
            stamp = Delivery.ValueType(delivery)
            message.post_created.CopyFrom(event_pb2.PostCreated(post_id=post_id, author_id=author_id, delivery=stamp))
            return Event(event_id, POST_CREATED, message.SerializeToString())
        case PostChanged(post_id, version):
            message.post_changed.CopyFrom(event_pb2.PostChanged(post_id=post_id, version=version))
            return Event(event_id, POST_CHANGED, message.SerializeToString(), broadcast=True)
        case AuthorTurned(author_id, turn):
            message.author_turned.CopyFrom(event_pb2.AuthorTurned(author_id=author_id, turn=turn))
            return Event(event_id, AUTHOR_TURNED, message.SerializeToString())
