"""The topics that services publish to and bind their queues to."""

POST_CREATED = "post.created"
POST_CHANGED = "post.changed"
FOLLOW_CHANGED = "follow.changed"
FANOUT_CHUNK = "fanout.chunk"
AUTHOR_TURNED = "author.turned"
FANOUT_BULK = "fanout.bulk"
