"""A world of users and posts in dictionaries, and the timeline service's parts put together over it."""

import asyncio
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from feed.post.v1 import post_pb2
from feed.timeline.v1 import timeline_service_pb2

from meshkit.errors import UnavailableError
from meshkit.ids import IdGenerator
from meshkit.single_flight import SingleFlight
from timeline_svc.delivery import Delivery, SourceChanges
from timeline_svc.explain import Explainer
from timeline_svc.feed import FeedPage, HomeFeed
from timeline_svc.home_timelines import HomeTimelines
from timeline_svc.older import OlderPosts
from timeline_svc.packed import Entry
from timeline_svc.ports import PostCopy, PostFacts, Relation, TimelineStore, Turned
from timeline_svc.post_cache import PostCache
from timeline_svc.pull import Puller
from timeline_svc.pulled import PulledAuthors
from timeline_svc.rebuild import Rebuilder
from timeline_svc.redis_store import HOME_CAP
from timeline_svc.segment import Segment
from timeline_svc.servicer import encode_feed, frame_item
from timeline_svc.turns import Turns

# More than a home timeline holds.
POSTS = HOME_CAP + 250


async def complete(store: TimelineStore, user: int, entries: Sequence[Entry], floor: int) -> bool:
    """Begin a home timeline if there is none, and make it ready with some entries."""
    return await store.complete_home(user, await store.begin_home(user), entries, floor, marks={}, left={})


def relation_of(*, follows: bool) -> Relation:
    """Give how two stand who only follow, ever since, or do not."""
    return Relation(
        can_view=True,
        in_feed=follows,
        following=follows,
        edge_version=1,
        requested=False,
        muted=False,
        blocking=False,
        blocked=False,
    )


class Gate:
    """Holds who comes through until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def hold(self) -> None:
        """Wait at the gate."""
        self.reached.set()
        await self._opened.wait()

    def open(self) -> None:
        """Let through."""
        self._opened.set()


class World:
    """The truth: edges and posts. It implements the ports Graph and Posts.

    A gate set for a method holds its next call after the answer was read: what changes then, the caller cannot have seen.
    """

    def __init__(self) -> None:
        self.edges: dict[int, set[int]] = defaultdict(set)
        self.posts: dict[int, post_pb2.Post] = {}
        self.by_author: dict[int, list[int]] = defaultdict(list)
        self.calls: Counter[str] = Counter()
        self.looked_up: Counter[int] = Counter()
        self.away = False
        self.left_at: dict[int, dict[int, int]] = defaultdict(dict)
        self.deleted: dict[int, int] = {}
        self.turns: dict[int, Turned] = {}
        self.stamps: dict[int, int] = {}
        self.relations: dict[tuple[int, int], Relation] = {}
        self._gates: dict[str, list[Gate]] = defaultdict(list)

    def gate(self, method: str) -> Gate:
        """Hold the next call of a method; gates of the same method hold one call each, in order."""
        gate = Gate()
        self._gates[method].append(gate)
        return gate

    def remove_gate(self, method: str) -> None:
        """Let the next call of a method through after all."""
        self._gates[method].pop()

    def add(self, post_id: int, author_id: int) -> None:
        """Commit a post."""
        self.posts[post_id] = post_pb2.Post(post_id=post_id, user_id=author_id, content=f"post {post_id}", version=1)
        insort(self.by_author[author_id], post_id)

    def edit(self, post_id: int, content: str) -> int:
        """Commit an edit and give the new version."""
        old = self.posts[post_id]
        self.posts[post_id] = post_pb2.Post(post_id=post_id, user_id=old.user_id, content=content, version=old.version + 1)
        return old.version + 1

    def remove(self, post_id: int) -> int:
        """Commit a deletion and give the tombstone's version."""
        post = self.posts.pop(post_id)
        self.deleted[post_id] = post.user_id
        self.by_author[post.user_id].remove(post_id)
        return post.version + 1

    def feed_of(self, viewer_id: int) -> list[int]:
        """Work out what a viewer's feed has to be, newest first."""
        authors = self.edges[viewer_id] | {viewer_id}
        return sorted((post_id for post_id, post in self.posts.items() if post.user_id in authors), reverse=True)

    def followers(self, author_id: int) -> list[int]:
        """Give everybody who follows an author now."""
        return [user_id for user_id, followees in self.edges.items() if author_id in followees]

    async def followees(self, user_id: int) -> list[int]:
        """Give everybody whom a user follows now."""
        answer = sorted(self.edges[user_id])
        await self._called("followees")
        return answer

    async def is_followee(self, user_id: int, author_id: int) -> bool:
        """Tell whether an edge is there now."""
        answer = author_id in self.edges[user_id]
        await self._called("is_followee")
        return answer

    async def left(self, user_id: int) -> dict[int, int]:
        """Give whom a user unfollowed, with the version."""
        answer = dict(self.left_at[user_id])
        await self._called("left")
        return answer

    async def relation(self, viewer_id: int, author_id: int) -> Relation:
        """Tell how two users stand: as was said, or one follows, or does not."""
        answer = self.relations.get((viewer_id, author_id)) or relation_of(follows=author_id in self.edges[viewer_id])
        await self._called("relation")
        return answer

    async def describe(self, post_id: int) -> PostFacts | None:
        """Tell what a post is to feeds."""
        post, author_of_deleted = self.posts.get(post_id), self.deleted.get(post_id)
        await self._called("describe")
        if post:
            return PostFacts(post.user_id, self.stamps.get(post_id, 1), deleted=False)
        return PostFacts(author_of_deleted, self.stamps.get(post_id, 1), deleted=True) if author_of_deleted else None

    async def turned(self, after_turn: int) -> list[Turned]:
        """Give the authors whose last turn came after one."""
        answer = sorted((turned for turned in self.turns.values() if turned.turn > after_turn), key=lambda turned: turned.turn)
        self.calls["turns told"] += len(answer)
        await self._called("turned")
        return answer

    async def lookup(self, post_ids: Sequence[int]) -> dict[int, PostCopy]:
        """Give those of the posts that exist now."""
        self.looked_up.update(post_ids)
        found = [self.posts[post_id] for post_id in post_ids if post_id in self.posts]
        answer = {post.post_id: PostCopy(post.version, post.SerializeToString()) for post in found}
        await self._called("lookup")
        return answer

    async def by_authors(self, author_ids: Sequence[int], *, before: int | None, limit: int) -> dict[int, Sequence[int]]:
        """Give each author's newest post ids below an id, newest first."""
        answer: dict[int, Sequence[int]] = {}
        for author_id in author_ids:
            ids = self.by_author[author_id]
            end = len(ids) if before is None else bisect_left(ids, before)
            answer[author_id] = tuple(reversed(ids[max(0, end - limit) : end]))
        await self._called("by_authors")
        return answer

    async def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.away:
            raise UnavailableError("the world is away", reason="AWAY")
        if self._gates[method]:
            await self._gates[method].pop(0).hold()


@dataclass
class Home:
    """The timeline service's parts over a store and a world, as its composition root puts them together."""

    store: TimelineStore
    world: World
    users: Iterator[int]
    ids: IdGenerator = field(default_factory=lambda: IdGenerator(0))

    def __post_init__(self) -> None:
        self.cache = PostCache(self.world, frame_item, SingleFlight())
        world, turns = self.world, Turns(self.world)
        self.puller = Puller(self.store, world)
        pulled = PulledAuthors(self.puller, SingleFlight())
        timelines = HomeTimelines(self.store, Rebuilder(self.store, self.puller, world, turns), SingleFlight(), turns)
        self.segments = SingleFlight[int, Segment]()
        older = OlderPosts(self.store, self.puller, world, self.segments)
        self.feed = HomeFeed(timelines, older, pulled, self.puller, world, self.cache)
        self.explainer = Explainer(timelines, pulled, world, world)
        self.delivery = Delivery(self.store)
        self.changes = SourceChanges(self.store, self.puller, world, turns)

    def community(self, followees: int) -> tuple[int, list[int]]:
        """Make a viewer who follows so many others; nothing is told to the store."""
        viewer, *authors = [next(self.users) for _ in range(followees + 1)]
        self.world.edges[viewer].update(authors)
        return viewer, authors

    def commit(self, author_id: int) -> int:
        """Write a post that is not delivered to anybody yet."""
        post_id = self.ids.next()
        self.world.add(post_id, author_id)
        return post_id

    def entry(self, post_id: int) -> Entry:
        """Give a post's place in timelines."""
        return Entry(post_id, self.world.posts[post_id].user_id)

    async def deliver(self, post_id: int, author_id: int) -> None:
        """Deliver a post as fan-out does: to the author, then to whoever follows now."""
        await self.delivery.push_own([Entry(post_id, author_id)])
        await self.delivery.push(Entry(post_id, author_id), self.world.followers(author_id))

    async def publish(self, author_id: int) -> int:
        """Write a post and deliver it."""
        post_id = self.commit(author_id)
        await self.deliver(post_id, author_id)
        return post_id

    def delete(self, post_id: int) -> None:
        """Delete a post and tell the cache."""
        self.cache.changed(post_id, self.world.remove(post_id))

    async def follow(self, viewer_id: int, author_id: int) -> int:
        """Commit an edge, apply the change, and give its version."""
        self.world.edges[viewer_id].add(author_id)
        version = self.ids.next()
        await self.changes.apply(viewer_id, author_id, version, came=True)
        return version

    async def unfollow(self, viewer_id: int, author_id: int) -> int:
        """Remove an edge, apply the change, and give its version."""
        self.world.edges[viewer_id].discard(author_id)
        version = self.ids.next()
        self.world.left_at[viewer_id][author_id] = version
        await self.changes.apply(viewer_id, author_id, version, came=False)
        return version

    async def page(self, viewer_id: int, size: int = 20, before: int | None = None) -> tuple[list[int], int | None]:
        """Read a page: post ids, and where to go on."""
        page = await self.feed.page(viewer_id, size, before)
        return [post.post_id for post in posts_of(page)], page.last

    async def walk(self, viewer_id: int, size: int = 100, before: int | None = None) -> list[int]:
        """Read pages to the end; none may be short or end without need on the way."""
        shown, last = await self.page(viewer_id, size, before)
        while last is not None:
            assert len(shown) % size == 0
            assert shown[-1] == last
            page, last = await self.page(viewer_id, size, last)
            assert page
            shown += page
        return shown


def posts_of(page: FeedPage) -> list[post_pb2.Post]:
    """Decode a page as a client does."""
    response = timeline_service_pb2.GetHomeTimelineResponse.FromString(encode_feed(page.items, ""))
    return [item.post for item in response.items]


def fill(home: Home, authors: list[int], posts: int = POSTS) -> list[int]:
    """Commit posts, half of them by the first author, the others in turn, and give their ids, oldest first."""
    others = authors[1:]
    return [home.commit(authors[0] if number % 2 else others[number // 2 % len(others)]) for number in range(posts)]


async def push_all(home: Home, viewer: int, post_ids: list[int]) -> None:
    """Have the viewer's timeline made of pushes alone."""
    await complete(home.store, viewer, [], 0)
    for post_id in post_ids:
        await home.store.push_home(Entry(post_id, home.world.posts[post_id].user_id), [viewer])
