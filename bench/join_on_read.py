"""A feed without timelines: a gRPC server that joins posts with follows when it is read. `python -m bench.join_on_read …`.

It has no tokens to check, nothing to hide, and no pages but the first: what it leaves out is to its advantage.
"""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import sys
from typing import Any

import asyncpg
import grpc
import uvloop
from feed.post.v1 import post_pb2
from feed.timeline.v1 import timeline_pb2, timeline_service_pb2

# With more, they only wait for the processor in the server's processes instead.
_CONNECTIONS = 8

# The same page, in the ways in which one writes it. Which is the fastest depends on how many there are to follow.
QUERIES = {
    "join": """
        SELECT p.* FROM follows f JOIN posts p ON p.author_id = f.followee_id
        WHERE f.follower_id = $1 ORDER BY p.post_id DESC LIMIT 20""",
    "join, then posts": """
        SELECT p.* FROM (
            SELECT p.post_id FROM follows f JOIN posts p ON p.author_id = f.followee_id
            WHERE f.follower_id = $1 ORDER BY p.post_id DESC LIMIT 20
        ) newest JOIN posts p USING (post_id) ORDER BY p.post_id DESC""",
    "lateral": """
        SELECT p.* FROM follows f CROSS JOIN LATERAL (
            SELECT * FROM posts WHERE author_id = f.followee_id ORDER BY post_id DESC LIMIT 20
        ) p WHERE f.follower_id = $1 ORDER BY p.post_id DESC LIMIT 20""",
    "lateral, then posts": """
        SELECT p.* FROM (
            SELECT own.post_id FROM follows f CROSS JOIN LATERAL (
                SELECT post_id FROM posts WHERE author_id = f.followee_id ORDER BY post_id DESC LIMIT 20
            ) own WHERE f.follower_id = $1 ORDER BY own.post_id DESC LIMIT 20
        ) newest JOIN posts p USING (post_id) ORDER BY p.post_id DESC""",
}
_SERVICE = "feed.timeline.v1.TimelineService"
_Request = timeline_service_pb2.GetHomeTimelineRequest
_Response = timeline_service_pb2.GetHomeTimelineResponse


def _feeds(pool: asyncpg.Pool[asyncpg.Record], query: str) -> grpc.GenericRpcHandler:
    async def read(request: _Request, _context: grpc.aio.ServicerContext[Any, Any]) -> _Response:
        rows = await pool.fetch(query, request.user_id)
        return _Response(items=[_item(row) for row in rows], next_page_token=str(rows[-1]["post_id"]) if rows else "")

    method: Any = grpc.unary_unary_rpc_method_handler(
        read, request_deserializer=_Request.FromString, response_serializer=_Response.SerializeToString
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"GetHomeTimeline": method})


def _item(row: asyncpg.Record) -> timeline_pb2.FeedItem:
    post_id, author_id, content, media_urls, created, updated, version = row
    return timeline_pb2.FeedItem(
        post=post_pb2.Post(
            post_id=post_id,
            user_id=author_id,
            content=content,
            media_urls=media_urls,
            create_time=created,
            update_time=updated,
            version=version,
        )
    )


async def _serve(address: str, url: str, query: str) -> None:
    async with asyncpg.create_pool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((_feeds(pool, QUERIES[query]),))
        server.add_insecure_port(address)
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
