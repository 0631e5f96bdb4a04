"""The rows that posts are, committed by SQLite alone: what the disk and the table cost without anything around them."""

import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from feed.post.v1 import post_service_pb2

from bench.crowd import CONTENT
from meshkit.ids import IdGenerator, id_bytes
from meshkit.outbox_events import outbox_record
from meshkit.requests import answer_record
from meshkit.rpc.convert import request_id
from meshkit.table.port import Operation, Put
from meshkit.table.sqlite_statements import connect, prepare
from post_svc.domain import Delivery, Draft, Post, PostCreated
from post_svc.events import encode
from post_svc.posts import PostRepository, encode_post

Row = tuple[bytes, bytes, bytes, float | None]
_INSERT = "INSERT INTO items VALUES (?, ?, ?, 0, 1, ?)"
_COUNT = "SELECT count(*) FROM items WHERE partition >= CAST('post/' AS BLOB) AND partition < CAST('post0' AS BLOB)"
_PATIENCE_S = 5.0


def rows_of_posts(posts: PostRepository, count: int, authors: int) -> list[list[Row]]:
    """Make what CreatePost writes, for each post: the answer to its request, the post, its place with its author, the event."""
    ids = IdGenerator(worker=1)
    first_author, run = ids.next(), secrets.token_hex(8)
    return [_rows(posts, ids, first_author + number % authors, f"{run}-{number}") for number in range(count)]


def commit_in_groups(rows: Sequence[Sequence[Row]], group: int, path: Path) -> float:
    """Commit the rows of so many posts at a time, each group to the disk, in a new table; give the posts a second."""
    with closing(connect(path, busy_timeout=_PATIENCE_S)) as connection:
        prepare(connection)
        began = time.perf_counter()
        for start in range(0, len(rows), group):
            connection.execute("BEGIN IMMEDIATE")
            for post in rows[start : start + group]:
                connection.executemany(_INSERT, post)
            connection.execute("COMMIT")
        return len(rows) / (time.perf_counter() - began)


def count_posts(path: Path) -> int:
    """Count the posts that a table holds."""
    with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as connection:
        count: int = connection.execute(_COUNT).fetchone()[0]
        return count


def _rows(posts: PostRepository, ids: IdGenerator, author: int, request: str) -> list[Row]:
    content = f"{CONTENT} {request}"
    post = Post.new(ids.next(), author, Draft(content), Delivery.PUSH)
    asked = request_id(str(author), post_service_pb2.CreatePostRequest(content=content, request_id=request), request)
    answer = [answer_record(asked, id_bytes(post.post_id) + encode_post(post))] if asked else []
    event = encode(ids.next(), PostCreated(post.post_id, author, post.delivery))
    operations: list[Operation] = [*answer, *posts.creation(post), outbox_record(event)]
    return [(*put.key, put.value, put.expires_at) for put in operations if isinstance(put, Put)]
