"""Reads whole feeds, and compares one with what the oracle expects of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from cli.client import Client, FeedItem
from cli.journal import digest
from cli.oracle import Expected, Oracle, Posted

# A feed that goes on after this many times all posts there are, and some more, never ends.
_ENDLESS = 2
_SLACK = 100


class Kind(StrEnum):
    """What can be wrong with a feed."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    TWICE = "twice"
    OUT_OF_ORDER = "out of order"
    CONTENT = "content"
    AUTHOR = "author"
    SHORT_PAGE = "short page"
    LONG_PAGE = "long page"
    EMPTY_PAGE = "empty page"
    ENDLESS = "endless"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing wrong with one feed. `post_id` is 0 where no single post is meant."""

    user_id: int
    username: str
    kind: Kind
    post_id: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """An item of a feed: ids, and the hash of its text."""

    post_id: int
    author_id: int
    digest: str


@dataclass(slots=True)
class Feed:
    """A feed as it was read: its items, and how many came on each page. `ended`: the last page gave no token."""

    items: list[Seen] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    ended: bool = False


async def read_feed(client: Client, token: str, *, page_size: int, posts: int) -> Feed:
    """Read a feed to its end, or until it is clear that it has none: `posts` is how many there are in the whole mesh."""
    feed, page_token, tokens = Feed(), "", set[str]()
    # Pages count too: those of an endless feed may be empty.
    while len(feed.items) + len(feed.pages) <= _ENDLESS * posts + _SLACK:
        page = await client.feed_page(token=token, page_size=page_size, page_token=page_token)
        feed.items += map(_seen, page.items)
        feed.pages.append(len(page.items))
        page_token = page.next_page_token
        if not page_token or page_token in tokens:
            feed.ended = not page_token
            break
        tokens.add(page_token)
    return feed


def compare(feed: Feed, user_id: int, oracle: Oracle, page_size: int) -> list[Difference]:
    """Give everything that is wrong with a feed."""
    expected = oracle.expected(user_id)
    username = oracle.usernames[user_id]
    found = [*_wrong_pages(feed, page_size), *_wrong_order(feed), *_wrong_items(feed, oracle, expected)]
    seen = {item.post_id for item in feed.items}
    found += [
        (Kind.MISSING, post_id, _describe(oracle.posts[post_id]))
        for post_id in (*expected.post_ids, *_of_shown_doubtful_authors(feed, oracle, expected))
        if post_id not in seen
    ]
    return [Difference(user_id, username, kind, post_id, detail) for kind, post_id, detail in found]


def doubtful_posts(feed: Feed, oracle: Oracle) -> dict[int, int]:
    """Give the posts of a feed that were asked for and never acknowledged: the id of each, by its number in the journal."""
    known = ((oracle.by_digest.get(item.digest), item) for item in feed.items if item.post_id not in oracle.posts)
    return {
        posted.number: item.post_id
        for posted, item in known
        if posted and not posted.post_id and posted.author_id == item.author_id
    }


_Finding = tuple[Kind, int, str]


def _seen(item: FeedItem) -> Seen:
    return Seen(int(item.post.post_id), int(item.post.user_id), digest(item.post.content))


def _wrong_pages(feed: Feed, page_size: int) -> Iterator[_Finding]:
    for number, size in enumerate(feed.pages, start=1):
        last = feed.ended and number == len(feed.pages)
        if size > page_size:
            yield Kind.LONG_PAGE, 0, f"page {number} has {size} items of {page_size} asked for"
        # An empty feed is one empty page; any other empty page says that the one before it gave a token for nothing.
        elif not size and (number > 1 or not last):
            yield Kind.EMPTY_PAGE, 0, f"page {number}"
        elif size < page_size and not last:
            yield Kind.SHORT_PAGE, 0, f"page {number} has {size} items of {page_size}, and a token for more"
    if not feed.ended:
        yield Kind.ENDLESS, 0, f"still a token after {len(feed.pages)} pages"


def _wrong_order(feed: Feed) -> Iterator[_Finding]:
    for before, after in pairwise(feed.items):
        if before.post_id < after.post_id:
            yield Kind.OUT_OF_ORDER, after.post_id, f"comes after the older {before.post_id}"


def _wrong_items(feed: Feed, oracle: Oracle, expected: Expected) -> Iterator[_Finding]:
    shown: set[int] = set()
    made_as = doubtful_posts(feed, oracle)
    for item in feed.items:
        if item.post_id in shown:
            yield Kind.TWICE, item.post_id, "the same id again"
        shown.add(item.post_id)
        posted = oracle.posts.get(item.post_id)
        if posted is None:
            yield from _unacknowledged(item, oracle.by_digest.get(item.digest), made_as)
        else:
            yield from _changed(item, posted)
        author_id = posted.author_id if posted else item.author_id
        if not expected.may_show(author_id):
            yield Kind.UNEXPECTED, item.post_id, f"by user {author_id}, whom this user does not follow"


def _changed(item: Seen, posted: Posted) -> Iterator[_Finding]:
    if item.author_id != posted.author_id:
        yield Kind.AUTHOR, item.post_id, f"shown as by user {item.author_id}; {_describe(posted)}"
    if item.digest != posted.digest:
        yield Kind.CONTENT, item.post_id, f"the text is not what was posted; {_describe(posted)}"


def _unacknowledged(item: Seen, posted: Posted | None, made_as: dict[int, int]) -> Iterator[_Finding]:
    if posted is None or posted.author_id != item.author_id:
        yield Kind.UNEXPECTED, item.post_id, f"no post of the journal; by user {item.author_id}"
        return
    first_id = posted.post_id or made_as[posted.number]
    if first_id != item.post_id:
        yield Kind.TWICE, item.post_id, f"{_describe(posted)}, was also made as {first_id}"


def _of_shown_doubtful_authors(feed: Feed, oracle: Oracle, expected: Expected) -> Iterator[int]:
    """Give what must be there because a follow that was never acknowledged shows that it took effect."""
    for author_id in expected.doubtful_author_ids.intersection(item.author_id for item in feed.items):
        yield from oracle.post_ids_of(author_id)


def _describe(posted: Posted) -> str:
    return f"post {posted.number} of the journal, by user {posted.author_id}"
