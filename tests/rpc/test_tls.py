"""Mutual TLS between services: who gets in, who does not, and what wrong settings say."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from pydantic import ValidationError

from meshkit.errors import UnavailableError
from meshkit.rpc.probe import is_serving
from meshkit.settings import MeshSettings
from tests.rpc.backend import Seen, backend
from tests.rpc.certificates import Authority, authority
from tests.rpc.client import ANY_PORT
from tests.rpc.probes import check
from tests.rpc.test_between_services import caller

Common = dict[str, object]


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    """Make the mesh's authority."""
    return authority(tmp_path / "ca.pem")


@pytest.fixture
def settings(common: Common, ca: Authority, tmp_path: Path) -> MeshSettings:
    """Give a server's settings."""
    return MeshSettings.model_validate(common | ca.sign(tmp_path / "server"))


@pytest.fixture
async def address(settings: MeshSettings) -> AsyncIterator[str]:
    """Run a server."""
    async with backend(settings, ANY_PORT, Seen(5)) as bound:
        yield bound


async def test_a_certificate_of_the_mesh_opens_the_door(address: str, common: Common, ca: Authority, tmp_path: Path) -> None:
    """A caller with a certificate of its own from the same authority is answered."""
    mine = MeshSettings.model_validate(common | ca.sign(tmp_path / "client", "somebody"))
    async with caller(mine, address) as calls:
        assert await calls.read() == 5


async def test_health_can_be_asked_with_a_certificate_only(address: str, settings: MeshSettings) -> None:
    """The probe that starts processes one after the other sees a server with TLS, if it has the certificate."""
    assert await is_serving(address, settings.tls())
    assert not await is_serving(address)


async def test_a_certificate_of_another_authority_does_not(address: str, common: Common, ca: Authority, tmp_path: Path) -> None:
    """A caller whose certificate another authority signed is refused, although it believes the server."""
    theirs = authority(tmp_path / "theirs.pem").sign(tmp_path / "client") | {"tls_ca": ca.file}
    async with caller(MeshSettings.model_validate(common | theirs), address) as calls:
        with pytest.raises(UnavailableError):
            await calls.read()


async def test_a_caller_without_a_certificate_is_refused(address: str, ca: Authority) -> None:
    """Who believes the server and shows nothing gets no answer, not even about its health."""
    options = [("grpc.ssl_target_name_override", "feedmesh")]
    credentials = grpc.ssl_channel_credentials(ca.file.read_bytes())
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plain_text_is_refused(address: str, common: Common) -> None:
    """A caller that has no TLS gets no answer."""
    async with caller(MeshSettings.model_validate(common), address) as calls:
        with pytest.raises(UnavailableError):
            await calls.read()


async def test_a_caller_with_tls_does_not_speak_without(common: Common, settings: MeshSettings) -> None:
    """A server without TLS gets no call from a caller with it."""
    seen = Seen(5)
    async with backend(MeshSettings.model_validate(common), ANY_PORT, seen) as address, caller(settings, address) as calls:
        with pytest.raises(UnavailableError):
            await calls.read()
    assert not seen.calls


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_a_server_that_is_not_of_the_mesh_gets_no_call(common: Common, ca: Authority, tmp_path: Path, wrong: str) -> None:
    """A server with another name in its certificate, or with one of another authority, is not believed."""
    signer = ca if wrong == "name" else authority(tmp_path / "theirs.pem")
    shown = signer.sign(tmp_path / "server", "other" if wrong == "name" else "feedmesh") | {"tls_ca": ca.file}
    seen, mine = Seen(5), MeshSettings.model_validate(common | ca.sign(tmp_path / "client"))
    async with backend(MeshSettings.model_validate(common | shown), ANY_PORT, seen) as address, caller(mine, address) as calls:
        with pytest.raises(UnavailableError):
            await calls.read()
    assert not seen.calls


async def test_the_expected_name_can_be_set(common: Common, ca: Authority, tmp_path: Path) -> None:
    """Services whose certificates have another name find each other by the setting."""
    both = MeshSettings.model_validate(common | ca.sign(tmp_path / "both", "mesh.example") | {"tls_name": "mesh.example"})
    async with backend(both, ANY_PORT, Seen(5)) as address, caller(both, address) as calls:
        assert await calls.read() == 5


async def test_a_server_takes_new_certificates_while_it_runs(address: str, common: Common, ca: Authority, tmp_path: Path) -> None:
    """When its files are replaced by those of another authority, new callers need that one; nothing is restarted."""
    fresh = authority(tmp_path / "fresh.pem")
    new = fresh.sign(tmp_path / "fresh")
    for source, file in (("cert.pem", "server/cert.pem"), ("key.pem", "server/key.pem")):
        (tmp_path / "fresh" / source).replace(tmp_path / file)
    ca.file.write_bytes(fresh.file.read_bytes())
    mine = MeshSettings.model_validate(common | new | fresh.sign(tmp_path / "client"))
    async with caller(mine, address) as calls:
        assert await calls.read() == 5


async def test_versions_before_1_2_are_refused(address: str, settings: MeshSettings) -> None:
    """TLS 1.1 is not spoken, though 1.2 is, by the same caller."""
    host, port = address.split(":")

    async def spoken(version: ssl.TLSVersion) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        context.load_verify_locations(str(settings.tls_ca))
        context.load_cert_chain(str(settings.tls_cert), str(settings.tls_key))
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="feedmesh")
        writer.close()
        return str(writer.get_extra_info("ssl_object").version())

    assert await spoken(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.deprecated_call(), pytest.raises((ssl.SSLError, ConnectionError)):
        await spoken(ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize("given", [("tls_cert",), ("tls_key", "tls_ca"), ("tls_cert", "tls_key")])
def test_half_of_the_settings_stop_the_start(common: Common, ca: Authority, tmp_path: Path, given: tuple[str, ...]) -> None:
    """Nobody speaks in the clear by mistake: some of the files without the others are refused, and the error names all."""
    whole = ca.sign(tmp_path / "server")
    with pytest.raises(ValidationError, match="FEEDMESH_TLS_CERT, FEEDMESH_TLS_KEY and FEEDMESH_TLS_CA, or none"):
        MeshSettings.model_validate(common | {name: whole[name] for name in given})


async def test_files_that_do_not_fit_stop_the_start(common: Common, ca: Authority, tmp_path: Path) -> None:
    """A key of another certificate, or a file that is not there, is an OSError that names the files, for servers and callers."""
    good = ca.sign(tmp_path / "one")
    for wrong in ({"tls_key": ca.sign(tmp_path / "two")["tls_key"]}, {"tls_cert": tmp_path / "absent.pem"}):
        broken = MeshSettings.model_validate(common | good | wrong)
        with pytest.raises(OSError, match=r"key\.pem and .*ca\.pem for TLS"):
            async with backend(broken, ANY_PORT):
                pass
        with pytest.raises(OSError, match=r"key\.pem and .*ca\.pem for TLS"):
            async with caller(broken, "127.0.0.1:1"):
                pass
