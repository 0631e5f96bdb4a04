"""Seeded bugs. Each is a small change of the source that breaks one promise, and a run that must notice.

When a change can no longer be made, because the source reads otherwise now, the run fails and says so.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.community import Size

_SOURCES = ("cli", "fanout_svc", "gateway", "gen", "graph_svc", "meshkit", "post_svc", "timeline_svc")

# Small, but with everything that the main run has; authors of many followers are more than one chunk of three.
_SMALL = Size(
    users=70,
    follows=450,
    collectors=2,
    collected=40,
    early_posts=80,
    posts=360,
    clients=16,
    seconds=7.0,
    readers=4,
    reads_per_second=40,
    pull_at=20,
    push_at=14,
)
_CHUNKS_OF_THREE = {"FEEDMESH_CHUNK_SIZE": "3"}


class PatchError(Exception):
    """A mutant cannot be made."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: in one file some text, which stands there exactly once, becomes another. `real` bugs show on real engines only.

    `shows` are the differences that give it away: wrongs that slowness cannot bring about.
    """

    name: str
    path: str
    old: str
    new: str
    shows: Sequence[str] = ()
    faults: Sequence[str] = ()
    size: Size = _SMALL
    settings: Mapping[str, str] = field(default_factory=lambda: dict(_CHUNKS_OF_THREE))
    real: bool = False

    @property
    def is_control(self) -> bool:
        """Whether nothing is changed: the same load and faults on sound source, in which nothing may be found."""
        return not self.old


def source_tree(source: Path, folder: Path, mutant: Mutant | None = None) -> Path:
    """Copy the source, with a bug put in. Raises PatchError when the text to change does not stand there exactly once."""
    for name in _SOURCES:
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant:
        path = folder / mutant.path
        text = path.read_text() if path.exists() else ""
        if (count := text.count(mutant.old)) != 1:
            raise PatchError(f"mutant {mutant.name}: its text stands {count} times in {mutant.path}; it must be once")
        path.write_text(text.replace(mutant.old, mutant.new))
    return folder


CONTROL = Mutant("control", "", "", "", faults=("flush Valkey", "freeze Valkey", "evict strings"))
REAL_CONTROL = Mutant("control", "", "", "", faults=(*CONTROL.faults, "unbind a queue"))

MUTANTS = (
    Mutant(
        "acknowledge before commit",
        "post_svc/service.py",
        """            if message := await self._commit([*demands, *self._posts.creation(post)], created, request, post):
                self._outbox.send(message)
                return post
""",
        """            async def commit(post: Post = post, created: PostEvent = created, demands: object = demands) -> None:
                await __import__("asyncio").sleep(0.25)
                if message := await self._commit([*demands, *self._posts.creation(post)], created, request, post):
                    self._outbox.send(message)

            __import__("asyncio").get_running_loop().create_task(commit())
            return post
""",
        shows=("wrong answer", "refused"),
    ),
    Mutant(
        "a repeated request is done again",
        "post_svc/service.py",
        "        answered = [answer_record(request, _answer(post))] if request else []\n",
        "        answered: list[Operation] = []\n",
        shows=("two posts of one operation",),
    ),
    Mutant(
        "unguarded append",
        "timeline_svc/lua/push.lua",
        "if not is_above(high, low) or (count > 0 and not is_above(unpack('>I4I4', tail, size - (slack + 2) * PART + 1))) then",
        "if false then",
        shows=("disorder", "duplicate"),
    ),
    Mutant(
        "deleted posts are looked up",
        "post_svc/posts.py",
        "        return [post for post in posts if not post.deleted]\n",
        "        return posts\n",
        shows=("ghost",),
    ),
    Mutant(
        "stale copies are kept",
        "timeline_svc/post_cache.py",
        "        self._loads.forget(post_id)\n        self._drop(post_id)\n",
        "        self._loads.forget(post_id)\n",
        shows=("ghost", "leaked at the end"),
    ),
    Mutant(
        "chunks with gaps",
        "fanout_svc/domain.py",
        "zip([None, *edges], [*edges, None], strict=True)",
        "zip([None, *(Position(edge.bucket + 40) for edge in edges)], [*edges, None], strict=True)",
        shows=("lost",),
    ),
    Mutant(
        "a turn marks nobody",
        "fanout_svc/reach.py",
        "            return await self._timelines.mark_pulled(chunk.author_id, chunk.turn, follower_ids)\n",
        "            return len(follower_ids)\n",
        shows=("lost",),
    ),
    Mutant(
        "flip without BOTH",
        "post_svc/domain.py",
        "Delivery.PUSH if wish is Delivery.PUSH else Delivery.BOTH, forced=force)",
        "wish, forced=force)",
        shows=("lost",),
    ),
    Mutant(
        "unfollows are not counted",
        "graph_svc/revision.py",
        "        Add(follower_count_key(author_id, follower_shard(viewer_id)), change),\n",
        "        Add(follower_count_key(author_id, follower_shard(viewer_id)), max(change, 0)),\n",
        shows=("counter",),
    ),
    Mutant(
        "no backfill",
        "timeline_svc/delivery.py",
        "        if floor is not None:\n            await self._backfill(viewer_id, author_id, floor)\n",
        "",
        shows=("lost",),
    ),
    Mutant(
        "hidden after the answer",
        "graph_svc/lost_feeds.py",
        "            await asyncio.gather(*(self._settle(viewer_id, author_id) for viewer_id, author_id in pairs))\n",
        "            await asyncio.sleep(0)\n",
        shows=("leaked",),
    ),
    Mutant(
        "page token by offset",
        "timeline_svc/servicer.py",
        "        page = await self._feed.page(viewer_id, size, id_from(last) if last else None)\n",
        """        skipped = id_from(last) if last else 0
        page = await self._feed.page(viewer_id, skipped + size, None)
        page = type(page)(page.items[skipped:], skipped + size if page.last else None)
""",
        shows=("disorder", "duplicate"),
    ),
    Mutant(
        "a merge replaces",
        "timeline_svc/lua/merge.lua",
        "local live = string.sub(timeline.bytes, 1, timeline.count * PART)",
        "local live = ready and string.sub(timeline.bytes, 1, timeline.count * PART) or ''",
        shows=("lost",),
    ),
    Mutant(
        "a rebuild begins when it has read",
        "timeline_svc/rebuild.py",
        """        generation = await self._store.begin_home(viewer_id)
        changed, followees = await self._sources(viewer_id)
        marks = self._turns.among(followees)
        entries = await self._puller.newest([*followees, viewer_id], before=None, need=REBUILT_ENTRIES)
""",
        """        changed, followees = await self._sources(viewer_id)
        marks = self._turns.among(followees)
        entries = await self._puller.newest([*followees, viewer_id], before=None, need=REBUILT_ENTRIES)
        await __import__("asyncio").sleep(0.1)
        generation = await self._store.begin_home(viewer_id)
""",
        shows=("lost", "leaked", "leaked at the end"),
        faults=("flush Valkey",) * 4,
    ),
    Mutant(
        "a rebuild hides who came back",
        "timeline_svc/rebuild.py",
        """        gone = {author_id: changed[author_id] for author_id in changed.keys() - set(followees)}
        back = {author_id: changed[author_id] for author_id in changed.keys() & set(followees)}
""",
        """        gone = changed
        back: dict[int, int] = {}
""",
        shows=("lost",),
        faults=("evict strings",) * 4,
    ),
    Mutant(
        "missing is taken for empty",
        "timeline_svc/rebuild.py",
        "        entries = await self._puller.newest([*followees, viewer_id], before=None, need=REBUILT_ENTRIES)\n",
        "        entries: list = []\n",
        shows=("lost",),
        faults=("flush Valkey",),
    ),
    Mutant(
        "anybody gets a post by id",
        "post_svc/reading.py",
        "        if post.deleted or not await self._may_see(viewer_id, post.author_id):\n",
        "        if post.deleted:\n",
        shows=("leaked",),
    ),
    Mutant(
        "mutes are forgotten by rebuilds",
        "graph_svc/follows.py",
        "        return await self._ties.followees(user_id, after=after, limit=limit, keep=_in_feed)\n",
        "        return await self._ties.followees(user_id, after=after, limit=limit, keep=_any_edge)\n",
        shows=("leaked",),
        faults=("flush Valkey",),
    ),
    Mutant(
        "published without mandatory",
        "meshkit/queue/rabbitmq_publisher.py",
        "properties=properties, mandatory=mandatory)\n        try:",
        "properties=properties, mandatory=False)\n        try:",
        shows=("lost",),
        faults=("unbind a queue",),
        real=True,
    ),
    Mutant(
        "removed from the outbox though it was not confirmed",
        "meshkit/outbox.py",
        """            self._settle(event.event_id)
            raise
        self._sent.put_nowait(event.key)
""",
        """            self._settle(event.event_id)
            self._sent.put_nowait(event.key)
            raise
        self._sent.put_nowait(event.key)
""",
        shows=("lost",),
        faults=("unbind a queue",),
        real=True,
    ),
)
