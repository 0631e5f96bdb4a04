"""Connecting to a server as its URL says: TCP, TLS or a Unix socket, a password, a database."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

from timeline_svc.redis_link import Link, Word

_HOST = "localhost"
_PORT = 6379


async def open_link(url: str, deadline: float) -> Link:
    """Connect, and introduce ourselves until a time of the event loop's clock. Of the URL's options those count that are for this.

    Raises:
        OSError: nobody listens, TLS failed, or the server does not answer in time.
        RedisError: the server does not take the introduction.

    """
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = dict(parse_url(url))
    link = Link(loop)
    await _connect(loop, link, options)
    try:
        await _introduce(link, options, deadline)
    except BaseException:
        await link.aclose()
        raise
    return link


async def _connect(loop: asyncio.AbstractEventLoop, link: Link, options: dict[str, Any]) -> None:
    if "path" in options:
        await loop.create_unix_connection(lambda: link, options["path"])
        return
    tls = SSLConnection(**_of_tls(options)).ssl_context.get() if options.get("connection_class") is SSLConnection else None
    transport, _ = await loop.create_connection(lambda: link, options.get("host", _HOST), options.get("port", _PORT), ssl=tls)
    # A peer that is gone without a word is found out even while nobody asks.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _of_tls(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


async def _introduce(link: Link, options: dict[str, Any], deadline: float) -> None:
    commands = list(_introduction(options))
    if commands:
        for answer in await link.send(commands, deadline):
            if isinstance(answer, Exception):
                raise answer


def _introduction(options: dict[str, Any]) -> Iterator[tuple[Word, ...]]:
    if options.get("username") or options.get("password"):
        user = (options["username"],) if options.get("username") else ()
        yield ("AUTH", *user, options.get("password", ""))
    if options.get("client_name"):
        yield ("CLIENT", "SETNAME", options["client_name"])
    if options.get("db"):
        yield ("SELECT", options["db"])
