"""Connecting as a URL says: Unix sockets, TCP, TLS, passwords, users, databases."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from meshkit.sockets import free_port
from tests.rpc.certificates import authority
from tests.timeline.servers import client_of, valkey
from timeline_svc.redis_node import Command, Node

PASSWORD = "se:cr@t/?#"
PATIENCE = 30.0


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Run a server that knows a user of its own and a password for everybody else, on TCP and on a Unix socket."""
    port = free_port()
    async with valkey(tmp_path, port, "--unixsocket", str(tmp_path / "valkey.sock")):
        async with client_of(port) as redis:
            await redis.acl_setuser("me", enabled=True, passwords=[f"+{PASSWORD}"], categories=["+@all"], keys=["*"])
            await redis.config_set("requirepass", PASSWORD)
        yield port


@asynccontextmanager
async def tls_before(port: int, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """Put TLS before a server, with a certificate for localhost, and give its port and the authority to believe."""
    signer = authority(folder / "ca.pem")
    files = signer.sign(folder / "server", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(files["tls_cert"]), str(files["tls_key"]))
    clients: set[asyncio.Task[object]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.current_task()
        assert client
        clients.add(client)
        upstream = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))

    async with await asyncio.start_server(serve, "localhost", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1], signer.file
        await asyncio.gather(*clients)


async def ask(url: str, *words: str) -> object:
    """Ask a server once."""
    async with aclosing(Node(url, "server")) as node:
        (answer,) = await node.run([Command((), words)], asyncio.get_running_loop().time() + PATIENCE)
    return answer


async def test_who_we_are_and_which_database(port: int, tmp_path: Path) -> None:
    """The user, the password and the database of the URL hold on TCP and on a Unix socket; without a user it is the default one."""
    async with Redis(port=port, password=PASSWORD, db=3) as redis:
        await redis.set("here", "3")
    secret, socket = quote(PASSWORD, safe=""), quote(str(tmp_path / "valkey.sock"))
    for url, user in (
        (f"redis://me:{secret}@127.0.0.1:{port}/3", b"me"),
        (f"redis://:{secret}@127.0.0.1:{port}/3", b"default"),
        (f"unix://me:{secret}@{socket}?db=3", b"me"),
        (f"unix://:{secret}@{socket}?db=3", b"default"),
    ):
        assert await ask(url, "ACL", "WHOAMI") == user
        assert await ask(url, "GET", "here") == b"3"
    assert await ask(f"redis://me:{secret}@127.0.0.1:{port}", "GET", "here") is None


async def test_a_name_is_told(port: int) -> None:
    """A client name in the URL is what the server lists."""
    url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}?client_name=feedmesh"
    assert await ask(url, "CLIENT", "GETNAME") == b"feedmesh"


@pytest.mark.parametrize("credentials", ["", "me:wrong@", ":wrong@", "nobody:wrong@"])
async def test_a_stranger_is_told_so(port: int, credentials: str) -> None:
    """With a wrong password, or none, every call fails as what it is."""
    assert isinstance(await ask(f"redis://{credentials}127.0.0.1:{port}", "PING"), AuthenticationError)


async def test_tls(port: int, tmp_path: Path) -> None:
    """A server behind TLS is believed if the given authority signed its name, and only then, unless the URL says otherwise."""
    async with tls_before(port, tmp_path) as (tls_port, ca):
        url = f"rediss://:{quote(PASSWORD, safe='')}@localhost:{tls_port}"
        assert await ask(f"{url}?ssl_ca_certs={quote(str(ca))}", "PING") == b"PONG"
        assert await ask(f"{url}?ssl_cert_reqs=none", "PING") == b"PONG"
        assert isinstance(await ask(url, "PING"), ssl.SSLCertVerificationError)
