"""The URL that says where timelines are kept."""

import pytest
from pydantic import ValidationError

from timeline_svc.redis_url import Address, RedisUrl
from timeline_svc.settings import TimelineSettings


@pytest.mark.parametrize("url", ["redis://host:1/0", "rediss://:secret@host", "unix:///run/valkey.sock", "private://"])
def test_a_server_is_one_url(url: str) -> None:
    """A URL of one server has no seeds, and is left to the client as it is."""
    assert TimelineSettings(redis_url=url).redis_url == url
    assert url == "private://" or RedisUrl.parse(url) == RedisUrl(url)


def test_a_cluster_is_named_by_seeds() -> None:
    """Seeds are separated by commas, a missing port is Redis's own; credentials and options hold for servers found later too."""
    url = RedisUrl.parse("rediss+cluster://me:p%40ss@one:7000,[::1]:7001,three?ssl_cert_reqs=none")
    assert url.seeds == (Address("one", 7000), Address("::1", 7001), Address("three", 6379))
    assert [url.of(address) for address in (*url.seeds[1:], Address("four", 1))] == [
        "rediss://me:p%40ss@[::1]:7001?ssl_cert_reqs=none",
        "rediss://me:p%40ss@three:6379?ssl_cert_reqs=none",
        "rediss://me:p%40ss@four:1?ssl_cert_reqs=none",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://:secret@host",
        "redis+cluster://:secret@",
        "redis+cluster://:secret@one,two/3",
        "redis+cluster://one:secret",
        "redis://:secret/1@host:6379",
        "redis://:secret?1@host:6379",
        "redis://:secret#1@host:6379",
        "redis://:se[secret@host:6379",
        "redis://:secret\u2100@host:6379",
        "redis://host?db=secret",
        "unix://:secret/1@/run/valkey.sock",
        "redis+cluster://me:secret#1@one:1",
        "redis+cluster://me:secret/1@one:1",
        "redis+cluster://one?socket_timeout=secret",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """A service with a URL that nobody understands does not start, and does not tell the password."""
    with pytest.raises(ValidationError) as failure:
        TimelineSettings(redis_url=url)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("mark", "/?#")
def test_a_password_with_a_mark_of_urls_is_not_taken_for_a_port(mark: str) -> None:
    """A password that begins like a port and is not written as URLs have it is refused, not connected to."""
    for scheme in ("redis", "redis+cluster"):
        with pytest.raises(ValueError, match="%2F %3F %23") as failure:
            RedisUrl.parse(f"{scheme}://me:1234{mark}5678@host:6379")
        assert "1234" not in str(failure.value)


def test_a_url_is_not_shown() -> None:
    """What a URL was made from stays out of logs."""
    for url in ("redis://:secret@host", "redis+cluster://:secret@one,two"):
        assert "secret" not in repr(RedisUrl.parse(url))
