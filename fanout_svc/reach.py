"""Goes through an author's followers and does to their timelines what a job is for."""

from collections.abc import Sequence

from fanout_svc.domain import Chunk, FollowerRange, NewPost
from fanout_svc.ports import Peers

# Nearly all authors have fewer followers; of who has more, so many are read in vain.
_FEW = 1_000


class Reach:
    """Reads followers in pages of at most `batch_size`, and hands each page to the timelines."""

    def __init__(self, peers: Peers, *, batch_size: int) -> None:
        self._followers = peers.followers
        self._timelines = peers.timelines
        self._batch_size = batch_size

    async def push_few(self, post: NewPost, most: int) -> tuple[int, int] | None:
        """Push a post to all followers if there are fewer than `most`, and than a thousand, and one page holds them.

        Tell how many there are, and how many timelines that reached; None when there are more.

        For nearly all authors this one read is all that is asked about followers.
        """
        follower_ids = await self._followers.few(post.author_id, limit=min(self._batch_size, most, _FEW))
        if follower_ids is None:
            return None
        if not follower_ids:
            return 0, 0
        return len(follower_ids), await self._timelines.push(post.post_id, post.author_id, follower_ids)

    async def cover(self, chunk: Chunk) -> int:
        """Do a chunk, and tell how many timelines it reached. Doing it twice is doing it once."""
        position, reached = chunk.range.start, 0
        while True:
            within = FollowerRange(position, chunk.range.end)
            follower_ids, position = await self._followers.page(chunk.author_id, within, limit=self._batch_size)
            if follower_ids:
                reached += await self._touch(chunk, follower_ids)
            if position is None:
                return reached

    async def _touch(self, chunk: Chunk, follower_ids: Sequence[int]) -> int:
        if chunk.turn:
            return await self._timelines.mark_pulled(chunk.author_id, chunk.turn, follower_ids)
        return await self._timelines.push(chunk.job_id, chunk.author_id, follower_ids)
