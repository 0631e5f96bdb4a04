"""Addresses of services, as settings have them."""

import pytest

from meshkit.rpc.addresses import Place, places, target


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("127.0.0.1:1", "ipv4:127.0.0.1:1"),
        ("10.0.0.1:1,10.0.0.2:65535", "ipv4:10.0.0.1:1,10.0.0.2:65535"),
        ("[::1]:1,[fe80::1]:2", "ipv6:[::1]:1,[fe80::1]:2"),
        ("graph:50051", "dns:///graph:50051"),
        ("dns:///graph.feed.svc:50051", "dns:///graph.feed.svc:50051"),
    ],
)
def test_grpc_gets_its_own_form(address: str, wanted: str) -> None:
    """Lists go to gRPC as they are, names are looked up and watched."""
    assert target(address) == wanted


def test_an_address_can_be_taken_apart() -> None:
    """Every place has its host without brackets, its port and its kind."""
    assert places("[::1]:1,[::2]:2") == [Place("::1", 1, 6), Place("::2", 2, 6)]
    assert places("dns:///graph:5") == [Place("graph", 5, None)]


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "graph",
        "graph:",
        ":1",
        "::1:1",
        "[graph]:1",
        "graph:1,post:2",
        "10.0.0.1:1,graph:2",
        "10.0.0.1:1,[::1]:2",
        "10.0.0.1:1,",
        "10.0.0.1:1, 10.0.0.2:1",
        "dns:///10.0.0.1:1",
        "dns:///a:1,b:1",
        "http://graph:1",
    ],
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    """Ports are needed, and lists of names, of mixed kinds or with spaces are refused, each with the words that are wrong."""
    with pytest.raises(ValueError, match=r"is not host:port|is a list|needs a name"):
        target(wrong)
