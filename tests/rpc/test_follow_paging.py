"""Paging through followers and followees, over gRPC, and the ranges that fan-out reads."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import graph_svc.__main__ as graph
from meshkit.buckets import BUCKETS, bucket_of
from meshkit.queue.memory import MemoryQueue
from meshkit.settings import MeshSettings
from tests.rpc.client import Tokens, graph_settings, refused, stubs, tampered
from tests.rpc.conftest import People
from tests.rpc.follow_calls import Graph, Position, Range

CODE = grpc.StatusCode
FOLLOWERS = 40
Famous = tuple[asyncio.Runner, Graph, int, list[int]]


def order(user: int) -> tuple[int, int]:
    """Give what followers are ordered by."""
    return bucket_of(user), user


async def crowd(follows: Graph, people: People, number: int) -> tuple[int, list[int]]:
    """Make an account with followers; give both, followers in their stable order."""
    star = (await people.make()).user_id
    fans = await people.ids(number)
    await asyncio.gather(*(follows.follow(fan, star) for fan in fans))
    return star, sorted(fans, key=order)


async def test_followers_are_paged_in_a_stable_order(follows: Graph, people: People) -> None:
    """Pages of any size give every follower once, in the same order, and only the last page has no token."""
    star, fans = await crowd(follows, people, 25)
    for size in (1, 7, 24, 25, 26):
        assert await follows.all_followers(star, size) == fans
    first = await follows.followers(star, star)
    assert [user.user_id for user in first.users] == fans[:20]
    assert (first.users[0].following_count, first.users[0].follower_count) == (1, 0)
    assert (await follows.followers(star, star, size=25)).next_page_token == ""


async def test_followees_are_paged_oldest_account_first(follows: Graph, people: People) -> None:
    """Whom one follows comes by age of the account, whatever the order of following."""
    *followees, fan = await people.ids(26)
    for followee in reversed(followees):
        await follows.follow(fan, followee)
    for size in (1, 7, 24, 25, 26):
        assert await follows.all_following(fan, size) == followees
    assert [user.user_id for user in (await follows.following(fan, fan)).users] == followees[:20]


async def test_page_sizes_are_made_to_fit(follows: Graph, people: People) -> None:
    """0 is 20, 100 is 100, 101 is 100, and -1 is INVALID_ARGUMENT, in both listings."""
    star, _ = await crowd(follows, people, 102)
    for asked, given_size in ((0, 20), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)):
        assert len((await follows.followers(1, star, size=asked)).users) == given_size
    for size in (-1, -(2**31)):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_size"):
            await follows.followers(1, star, size=size)
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_size"):
            await follows.following(1, star, size=size)


async def test_paging_holds_while_followers_come_and_go(follows: Graph, people: People) -> None:
    """Who follows from the first page to the last is listed exactly once, whoever comes, goes or is passed meanwhile."""
    star, fans = await crowd(follows, people, 30)
    leaving, coming = iter(fans[::3]), iter(await people.ids(30))

    async def change() -> None:
        await follows.unfollow(next(leaving), star)
        await follows.follow(next(coming), star)

    listed = await follows.all_followers(star, 4, between=change)
    assert len(set(listed)) == len(listed)
    staying = set(fans) - set(fans[::3])
    assert staying <= set(listed)
    assert listed == sorted(listed, key=order)


async def test_paging_holds_while_followees_come_and_go(follows: Graph, people: People) -> None:
    """Whom one follows from the first page to the last is listed exactly once, also when a token's own account is gone."""
    *followees, fan = await people.ids(31)
    late = iter(await people.ids(10))
    for followee in followees:
        await follows.follow(fan, followee)
    leaving = iter(followees[3::4])  # the last ones of pages, which their tokens name

    async def change() -> None:
        await follows.unfollow(fan, next(leaving, followees[3]))
        await follows.follow(fan, next(late))

    listed = await follows.all_following(fan, 4, between=change)
    assert len(set(listed)) == len(listed)
    assert set(followees) - set(followees[3::4]) <= set(listed)


@pytest.mark.parametrize("method", ["followers", "following"])
async def test_tampered_tokens_are_refused(follows: Graph, people: People, method: str) -> None:
    """A token that was changed, cut or made up is INVALID_ARGUMENT; one that is too long is, too."""
    ids = await people.ids(3)
    for one in ids:
        for other in set(ids) - {one}:
            await follows.follow(one, other)
    page = getattr(follows, method)
    token = (await page(ids[0], ids[0], size=1)).next_page_token
    assert (await page(ids[0], ids[0], token)).users
    for wrong in tampered(token):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
            await page(ids[0], ids[0], wrong)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "page_token"):
        await page(ids[0], ids[0], "A" * 513)


async def test_a_token_is_for_its_viewer_and_its_query(follows: Graph, people: People) -> None:
    """Somebody else's token, another account's and the other listing's are refused; one's own works with any page size."""
    ada, bob, eve = await people.ids(3)
    for one, other in ((ada, bob), (eve, bob), (ada, eve), (bob, eve), (bob, ada)):
        await follows.follow(one, other)
    token = (await follows.followers(ada, bob, size=1)).next_page_token
    assert token
    with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
        await follows.followers(eve, bob, token)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
        await follows.followers(ada, eve, token)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token"):
        await follows.following(ada, bob, token)
    assert len((await follows.followers(ada, bob, token, size=100)).users) == 1


async def test_a_token_outlives_a_restart(common: dict[str, object], queue: MemoryQueue, tokens: Tokens) -> None:
    """A token goes on where it stood after the service was stopped and started again."""
    async with graph.running(graph_settings(common), queue) as address, stubs(address) as connected:
        follows = Graph(connected, tokens)
        star, fans = await crowd(follows, People(connected), 5)
        token = (await follows.followers(1, star, size=2)).next_page_token
    async with graph.running(graph_settings(common), queue) as address, stubs(address) as connected:
        rest = await Graph(connected, tokens).followers(1, star, token)
        assert [user.user_id for user in rest.users] == fans[2:]


async def test_followee_ids_come_in_slices(follows: Graph, people: People) -> None:
    """ListFolloweeIds gives ids above a bound, ascending, up to the limit; past the end, nothing."""
    *followees, fan = await people.ids(11)
    for followee in reversed(followees):
        await follows.follow(fan, followee)
    assert await follows.followee_ids(fan) == await follows.followee_ids(fan, limit=2**32 - 1) == followees
    assert await follows.followee_ids(fan, limit=4) == followees[:4]
    assert await follows.followee_ids(fan, after=followees[3], limit=4) == followees[4:8]
    assert await follows.followee_ids(fan, after=followees[3] - 1, limit=1) == [followees[3]]
    assert await follows.followee_ids(fan, after=followees[-1]) == []
    assert await follows.followee_ids(fan, after=2**64 - 1) == await follows.followee_ids(fan, after=2**64 - 2) == []


async def test_the_ends_of_a_range_are_half_open(follows: Graph, people: People) -> None:
    """A range has its start and not its end; the same position twice is empty, and so is a range that runs backwards."""
    star, fans = await crowd(follows, people, 3)
    places = [Position(bucket=bucket_of(fan), user_id=fan) for fan in fans]
    assert await follows.whole_range(star, Range(start=places[0], end=places[2]), 10) == fans[:2]
    assert await follows.whole_range(star, Range(start=places[1]), 10) == fans[1:]
    assert await follows.whole_range(star, Range(end=places[1]), 10) == fans[:1]
    assert await follows.whole_range(star, Range(start=places[1], end=places[1]), 10) == []
    assert await follows.whole_range(star, Range(start=places[2], end=places[0]), 10) == []
    assert await follows.whole_range(star, Range(start=Position(bucket=0), end=Position(bucket=BUCKETS)), 10) == fans


async def test_the_first_followers_of_many_are_those_of_each(follows: Graph, people: People) -> None:
    """Asked for several accounts at once, each has the answer that it has alone: nobody, some, and more than asked for."""
    (nobody,) = await people.ids(1)
    (some, _), (many, _) = await crowd(follows, people, 3), await crowd(follows, people, 5)
    accounts = [many, nobody, some, many]
    together = await follows.first(accounts, limit=4)
    assert together == [await follows.range(account, limit=4) for account in accounts]
    assert [(len(answer.follower_ids), answer.HasField("next")) for answer in together] == [
        (4, True),
        (0, False),
        (3, False),
        (4, True),
    ]
    for wrong in ([], [1] * 101):
        with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "user_ids"):
            await follows.first(wrong)


@pytest.mark.parametrize("bucket", [2**16, 2**32 - 1])
@pytest.mark.parametrize("side", ["start", "end"])
async def test_a_bucket_that_does_not_exist_is_refused(follows: Graph, people: People, bucket: int, side: str) -> None:
    """A position's bucket is 0 to 1,023: a number far beyond is the caller's mistake, not an internal error."""
    (star,) = await people.ids(1)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", f"range.{side}.bucket"):
        await follows.range(star, Range(**{side: Position(bucket=bucket)}))


@contextmanager
def crowded(folder: Path) -> Iterator[Famous]:
    """Run a service whose one star has followers, in a loop of its own."""
    common: dict[str, object] = {"data_dir": folder}
    tokens = Tokens(MeshSettings.model_validate(common))
    with asyncio.Runner() as runner:
        queue = MemoryQueue()
        serving = graph.running(graph_settings(common), queue)
        connecting = stubs(runner.run(serving.__aenter__()))
        follows = Graph(runner.run(connecting.__aenter__()), tokens)
        try:
            star, fans = runner.run(crowd(follows, People(follows.stubs), FOLLOWERS))
            yield runner, follows, star, fans
        finally:
            runner.run(connecting.__aexit__(None, None, None))
            runner.run(serving.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def famous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Famous]:
    """Run one service for all examples."""
    with crowded(tmp_path_factory.mktemp("famous")) as running:
        yield running


# Anywhere, and exactly at, just before and just after followers.
CUTS = st.lists(
    st.tuples(st.integers(0, BUCKETS - 1), st.integers(0, 2**64 - 1)) | st.tuples(st.integers(0, FOLLOWERS - 1), st.just(-1)),
    max_size=6,
)


@given(cuts=CUTS, nudges=st.lists(st.integers(-1, 1), min_size=6, max_size=6), limit=st.integers(1, FOLLOWERS + 2))
@settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])  # shrinking over gRPC takes minutes
def test_ranges_partition_the_followers(famous: Famous, cuts: list[tuple[int, int]], nudges: list[int], limit: int) -> None:
    """Ranges that meet at any cuts, read with any limit, give together every follower exactly once, in order."""
    runner, follows, star, fans = famous
    positions = []
    for (first, second), nudge in zip(cuts, nudges, strict=False):
        at_follower = second < 0
        user = fans[first] + nudge if at_follower else second
        positions.append((bucket_of(fans[first]) if at_follower else first, user))
    places = [None, *(Position(bucket=bucket, user_id=user) for bucket, user in sorted(positions)), None]

    async def read() -> list[int]:
        found: list[int] = []
        for start, end in pairwise(places):
            found += await follows.whole_range(star, Range(start=start, end=end), limit)
        return found

    assert runner.run(read()) == fans
