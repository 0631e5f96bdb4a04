"""The REST client: what it repeats, what it raises, how long it waits."""

import asyncio

import pytest

from cli.client import NOT_FOUND, Client
from cli.transport import ApiError, Patience, Transport, UnansweredError
from tests.unit.cli_fake_mesh import FakeMesh, Fault, every, in_turn, mint

PATIENT = Patience(try_s=5, call_s=20, first_pause_s=0.001, longest_pause_s=0.01)
HASTY = Patience(try_s=5, call_s=0.05, first_pause_s=0.001, longest_pause_s=0.01)


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_write_is_repeated_and_takes_effect_once(fault: Fault) -> None:
    """After any fault a write is asked again under its request id, and exists once."""
    mesh = FakeMesh(users={7: "seven"}, fault=in_turn(fault))
    async with mesh.serve() as url, Client.connect(url, connections=1, patience=PATIENT) as client:
        post_id = await client.create_post("hello", token=mint(7), request_id="r1")
    assert list(mesh.posts) == [post_id]
    assert mesh.calls["POST /v1/posts"] == 2


async def test_a_no_is_raised_at_once() -> None:
    """A 4xx is an ApiError with the gateway's code and message, and is not repeated."""
    mesh = FakeMesh()
    async with mesh.serve() as url, Client.connect(url, connections=1, patience=PATIENT) as client:
        with pytest.raises(ApiError, match="there is no such user") as caught:
            await client.get_user(5, token=mint(5))
    assert (caught.value.code, caught.value.status, mesh.calls.total()) == (NOT_FOUND, 404, 1)


async def test_a_plain_text_error_is_still_an_api_error() -> None:
    """An error whose body is not the contract's JSON keeps its status and its text."""
    async with FakeMesh().serve() as url, Transport.connect(url, connections=1, patience=PATIENT) as transport:
        with pytest.raises(ApiError, match="Not Found") as caught:
            await transport.call("GET", "/nowhere", repeatable=True)
    assert caught.value.status == 404


async def test_an_answer_against_the_contract_is_an_api_error() -> None:
    """An answer that is not what the contract says is not taken for one."""
    mesh = FakeMesh(tamper_page=lambda _, page: page | {"items": [{"post": {"post_id": 17}}]})
    async with mesh.serve() as url, Client.connect(url, connections=1, patience=PATIENT) as client:
        with pytest.raises(ApiError, match="as the contract says"):
            await client.feed_page(token=mint(1), page_size=20)


@pytest.mark.parametrize("faults", [[Fault.RESET], [Fault.UNAVAILABLE], [Fault.BUSY, Fault.RESET]])
async def test_what_must_not_be_repeated_is_not(faults: list[Fault]) -> None:
    """A call that is not repeatable is tried again only after an answer that says it was refused."""
    mesh = FakeMesh(fault=in_turn(*faults))
    async with mesh.serve() as url, Transport.connect(url, connections=1, patience=PATIENT) as transport:
        with pytest.raises(UnansweredError):
            await transport.call("POST", "/v1/posts", repeatable=False)
    assert mesh.calls.total() == len(faults)


async def test_patience_ends() -> None:
    """A gateway that stays away makes the call fail when the window is over, with the reason in the message."""
    mesh = FakeMesh(fault=every(1, Fault.UNAVAILABLE))
    async with mesh.serve() as url, Client.connect(url, connections=1, patience=HASTY) as client:
        with pytest.raises(UnansweredError, match=r"GET http.*/v1/users/1: HTTP 503 \(tries: \d+\)"):
            await client.get_user(1, token=mint(1))
    assert mesh.calls.total() > 1


async def test_a_restarted_gateway_is_waited_for() -> None:
    """Calls begun while nobody listens are answered once the gateway is back on its port."""
    mesh = FakeMesh(users={1: "one"})
    async with mesh.serve() as url:
        port = int(url.rpartition(":")[2])
    async with Client.connect(url, connections=4, patience=PATIENT) as client, asyncio.TaskGroup() as group:
        calls = [group.create_task(client.get_user(1, token=mint(1))) for _ in range(4)]
        done, _ = await asyncio.wait(calls, timeout=0.05)
        assert not done
        async with mesh.serve(port):
            users = await asyncio.gather(*calls)
    assert [user.username for user in users] == ["one"] * 4


async def test_a_name_is_looked_up_as_it_is_written() -> None:
    """Characters with a meaning in URLs arrive as they are."""
    mesh = FakeMesh(users={1: "a&b=c d%20/é"})
    async with mesh.serve() as url, Client.connect(url, connections=1, patience=PATIENT) as client:
        assert (await client.lookup_user("a&b=c d%20/é", token=mint(1))).user_id == "1"


def test_pauses_are_spread_and_bounded() -> None:
    """Pauses are random between zero and a bound that doubles up to the longest pause, however many tries there were."""
    patience = Patience(first_pause_s=1, longest_pause_s=4)
    for tries, bound in ((1, 1), (2, 2), (3, 4), (10_000, 4)):
        pauses = [patience.pause_s(tries) for _ in range(200)]
        assert 0 <= min(pauses) < bound / 2 < max(pauses) <= bound
