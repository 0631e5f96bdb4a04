"""The hash buckets that followers are stored in and that timelines are spread by.

A follower's bucket begins its sort key in the follow graph, and is the Redis Cluster hash tag of its timeline. So a contiguous part
of an account's followers is a short run of buckets, and each bucket's timelines live on one shard.
"""

from zlib import crc32

# Enough for a cluster of hundreds of shards; few enough that a chunk of a big author's followers touches only one or two.
BUCKETS = 1024


def bucket_of(user_id: int) -> int:
    """Give a user's bucket, 0 to 1,023. It never changes: it is part of stored keys."""
    return crc32(user_id.to_bytes(8)) % BUCKETS
