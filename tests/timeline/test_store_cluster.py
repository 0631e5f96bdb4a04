"""A cluster: what is spread over its servers, and what becomes of the others when one is away or slots move."""

import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from redis.crc import key_slot
from redis.exceptions import AskError

from meshkit.errors import UnavailableError
from meshkit.sockets import free_port
from tests.timeline.faults import SOON, frozen, is_back, seconds_of, until_passed_by
from tests.timeline.home import Home, World, fill
from tests.timeline.servers import RunningCluster, client_of, cluster_command, patient_store, running_cluster
from tests.timeline.windows import AUTHOR, ids_of, ready
from tests.timeline.wire import wires_on
from timeline_svc.packed import Entry
from timeline_svc.redis_store import RedisTimelineStore, home_key, open_redis, sources_key

SLOTS = 16_384


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RunningCluster]:
    """Run a cluster of the test's own."""
    async with running_cluster(tmp_path) as running:
        yield running


@pytest.fixture
async def clustered(cluster: RunningCluster) -> AsyncIterator[RedisTimelineStore]:
    """Open the store on it, with the deadlines of the service."""
    async with open_redis(cluster.url) as store:
        yield store


def third_of(user: int) -> int:
    """Tell which of the three servers has a user's timeline."""
    return key_slot(home_key(user).encode()) * 3 // SLOTS


def one_on_each(users: Iterator[int]) -> list[int]:
    """Give three users, one on each server, in the servers' order."""
    found: dict[int, int] = {}
    while len(found) < 3:
        user = next(users)
        found[third_of(user)] = user
    return [found[third] for third in range(3)]


async def keys_on(ports: Sequence[int]) -> list[int]:
    """Count the keys on each server."""
    counts = []
    for port in ports:
        async with client_of(port) as client:
            counts.append(int(await client.dbsize()))
    return counts


async def test_timelines_are_spread_and_pushes_find_them(cluster: RunningCluster, clustered: RedisTimelineStore) -> None:
    """Timelines of many users stand on all three servers, about as many on each, and one push reaches every one once."""
    everybody = range(1, 601)
    for user in everybody:
        await ready(clustered, user)
    assert await clustered.push_home(Entry(10, AUTHOR), everybody) == len(everybody)
    assert await clustered.push_home(Entry(10, AUTHOR), [*everybody, *range(1_000, 2_000)]) == len(everybody)
    assert [await ids_of(clustered, user) for user in everybody] == [[10]] * len(everybody)
    counts = await keys_on([*cluster.nodes])
    # Each has a record beside it.
    assert sum(counts) == 2 * len(everybody)
    assert min(counts) > 2 * len(everybody) // 5


async def test_a_call_is_one_round_trip_to_each_server(tmp_path: Path, users: Iterator[int]) -> None:
    """A page is one exchange with one server; a push to thousands and recent posts of hundreds are one with each of the three."""
    announced = [free_port() for _ in range(3)]
    async with running_cluster(tmp_path, announced) as cluster, wires_on(dict(zip(announced, cluster.nodes, strict=True))) as wires:
        async with patient_store(cluster.url) as store:
            user, *_ = one_on_each(users)
            many = range(10**15, 10**15 + 2_000)
            await ready(store, user, 10)
            await store.push_home(Entry(20, AUTHOR), [user, *many])
            counts = []
            for call in (
                lambda: store.read_home(user, 20),
                lambda: store.add_home(user, [Entry(15, AUTHOR)], 0),
                lambda: store.push_home(Entry(30, AUTHOR), [user, *many]),
                lambda: store.read_authors(many[:300]),
            ):
                for wire in wires:
                    wire.round_trips = 0
                await call()
                counts.append([wire.round_trips for wire in wires])
        assert counts == [[1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("dead", [False, True])
async def test_one_server_away_hurts_no_others(cluster: RunningCluster, users: Iterator[int], *, dead: bool) -> None:
    """With one server frozen or dead, users of the others are served by them as fast as ever; its own by the tables, in full."""
    async with open_redis(cluster.url) as store:
        home = Home(store, World(), users)
        viewers, author = one_on_each(users), next(users)
        for viewer in viewers:
            home.world.edges[viewer].add(author)
        fill(home, [author, author], 60)
        for viewer in viewers:
            assert await home.walk(viewer, 20) == home.world.feed_of(viewer)
        victim = next(iter(cluster.nodes.values()))
        with frozen(victim):
            if dead:
                os.kill(victim.pid, signal.SIGKILL)
            new = home.commit(author)
            with pytest.raises(UnavailableError):
                await home.delivery.push(Entry(new, author), viewers)
            assert await store.push_own([Entry(new, viewer) for viewer in viewers]) == [0]
            home.world.calls.clear()
            for _ in range(10):
                times = [await seconds_of(lambda viewer=viewer: home.page(viewer)) for viewer in viewers[1:]]  # type: ignore[misc]
                assert min(times) < SOON
                assert [(await home.page(viewer))[0] for viewer in viewers[1:]] == [home.world.feed_of(viewers[1])[:20]] * 2
            assert not home.world.calls["followees"]
            await until_passed_by(lambda: home.page(viewers[0]))
            assert await home.walk(viewers[0], 20) == home.world.feed_of(viewers[0])
            # Recent posts on the servers that are there are still used.
            some = one_on_each(users)
            assert {*await home.puller.recent(some)} == {*some}
            assert {*await store.read_authors(some)} == {*some[1:]}
        if not dead:
            await is_back(store, viewers[0])
            assert await home.delivery.push(Entry(new, author), viewers) == 3
            assert (await store.read_home(viewers[0], 1)).window.post_ids[-1] == new  # type: ignore[union-attr]


async def test_the_slots_of_a_dead_server_are_found_elsewhere(
    cluster: RunningCluster, clustered: RedisTimelineStore, users: Iterator[int]
) -> None:
    """When another server takes over what a dead one had, as a replica does, the store finds it by itself."""
    user, other, _ = one_on_each(users)
    await ready(clustered, user, 10)
    await ready(clustered, other, 10)
    (_, victim), (heir, _), (third, _) = cluster.nodes.items()
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait()
    with pytest.raises(UnavailableError):
        await clustered.read_home(user, 20)
    for port in (heir, third):
        async with client_of(port) as client:
            await cluster_command(client, "DELSLOTSRANGE", 0, SLOTS // 3 - 1)
    async with client_of(heir) as client:
        await cluster_command(client, "ADDSLOTSRANGE", 0, SLOTS // 3 - 1)
        await cluster_command(client, "BUMPEPOCH")
    await is_back(clustered, user)
    await ready(clustered, user, 20)
    assert [await ids_of(clustered, each) for each in (user, other)] == [[20], [10]]


async def test_slots_that_move_take_their_timelines_along(
    cluster: RunningCluster, clustered: RedisTimelineStore, users: Iterator[int]
) -> None:
    """Before, while and after a slot moves to another server, its timelines are read and changed where they are."""
    user, *_ = one_on_each(users)
    await ready(clustered, user, 10)
    source, target, third = cluster.nodes
    slot = key_slot(home_key(user).encode())
    async with client_of(source) as old, client_of(target) as new, client_of(third) as other:
        names = {client: (await cluster_command(client, "MYID")).decode() for client in (old, new)}
        await cluster_command(new, "SETSLOT", slot, "IMPORTING", names[old])
        await cluster_command(old, "SETSLOT", slot, "MIGRATING", names[new])
        assert await clustered.push_home(Entry(20, AUTHOR), [user]) == 1
        await old.migrate("127.0.0.1", target, home_key(user), 0, 1_000)
        with pytest.raises(AskError):
            await old.exists(home_key(user))
        # The target has no scripts yet, and is to be asked for every call.
        assert await clustered.push_home(Entry(30, AUTHOR), [user]) == 1
        assert await ids_of(clustered, user) == [10, 20, 30]
        with pytest.raises(UnavailableError):
            await clustered.note_source(user, AUTHOR, 100, came=False)
        await old.migrate("127.0.0.1", target, sources_key(user), 0, 1_000)
        assert await clustered.mark_pulled(AUTHOR, 1, [user]) == 1
        for client in (new, old, other):
            await cluster_command(client, "SETSLOT", slot, "NODE", names[new])
        assert await clustered.push_home(Entry(40, AUTHOR), [user]) == 1
        assert await ids_of(clustered, user) == [10, 20, 30, 40]
        assert await clustered.read_authors([user]) == {}
