"""One Envoy for each test module, in front of hand-written services."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from gateway.envoy import Gateway, run_envoy
from gateway.settings import GatewaySettings
from meshkit.issuer import Issuer
from tests.gateway.rest import Rest
from tests.gateway.servicer import SERVICES, Upstream, serve


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    """Run the services."""
    async with serve() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for keys and the gateway's files."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def issuer(folder: Path) -> Issuer:
    """Make an issuer of tokens that the gateway trusts."""
    return Issuer.load_or_create(folder)


@pytest.fixture(scope="module")
def settings(upstream: Upstream, issuer: Issuer, folder: Path) -> GatewaySettings:
    """Give settings that lead to the services."""
    assert issuer
    return GatewaySettings(
        port=0,
        upstreams=dict.fromkeys(SERVICES, upstream.address),
        jwks_file=folder / "jwks.json",
        cors_origins=("http://app.test",),
        request_timeout=1.0,
        health_interval=0.2,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(settings: GatewaySettings, folder: Path) -> AsyncIterator[Gateway]:
    """Run the gateway."""
    async with run_envoy(settings, folder) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(gateway: Gateway, issuer: Issuer) -> AsyncIterator[Rest]:
    """Call the gateway as user 7."""
    async with aiohttp.ClientSession() as session:
        yield Rest(gateway.url, session, issuer.user_token(7))
