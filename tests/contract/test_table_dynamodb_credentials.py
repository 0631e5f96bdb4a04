"""Credentials that end, as those of a pod's role, when there are no new ones: refused, hanging, or gone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from meshkit.aws import Access, TableUrl
from meshkit.errors import UnavailableError
from meshkit.table.dynamodb import DynamoDbTable, open_dynamodb
from meshkit.table.port import Add, Item, Key, Put

KEY = Key(b"p", b"s")
REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>"""
CREDENTIALS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
SOON, LATER, LATE = timedelta(seconds=30), timedelta(minutes=5), timedelta(hours=1)


@dataclass(slots=True)
class Tokens:
    """A service that gives credentials of a role: for how long, whether it refuses, and whether it answers at all."""

    access: Access
    lifetime: timedelta = LATE
    refuses: bool = False
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer AssumeRoleWithWebIdentity."""
        self.calls += 1
        await self.answers.wait()
        if self.refuses:
            return web.Response(status=403, content_type="text/xml", text=REFUSAL)
        end = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = CREDENTIALS.format(key=self.access.key, secret=self.access.secret, end=end)
        return web.Response(content_type="text/xml", text=text)


@pytest.fixture
async def tokens(dynamodb: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tokens]:
    """Run such a service, and have this process be a pod of that role."""
    service = Tokens(dynamodb)
    service.answers.set()
    app = web.Application()
    app.router.add_post("/", service.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    (tmp_path / "identity").write_text("x" * 40)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/feedmesh")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("AWS_REGION", dynamodb.region)
    yield service
    await runner.cleanup()


@pytest.fixture
def url(dynamodb: Access, tmp_path: Path) -> TableUrl:
    """Give the URL of the test's table, without credentials."""
    return TableUrl(replace(dynamodb, key=None, secret=None), tmp_path.name)


async def until_unavailable(table: DynamoDbTable) -> None:
    """Get until the credentials of just now are no longer taken."""
    async with asyncio.timeout(10):
        while True:
            try:
                await table.get(KEY)
            except UnavailableError:
                return


@pytest.mark.parametrize("trouble", ["refusal", "file"])
async def test_a_role_without_credentials_ends_the_start(tokens: Tokens, url: TableUrl, tmp_path: Path, trouble: str) -> None:
    """A role that may not be assumed, or has no token, makes the table unusable, and that is what the start says."""
    if trouble == "file":
        (tmp_path / "identity").unlink()
    tokens.refuses = True
    with pytest.raises(UnavailableError, match=r"cannot be used"):
        async with open_dynamodb(url, deadline=1.0):
            pass


async def test_a_role_that_is_refused_for_a_while_is_unavailable(tokens: Tokens, url: TableUrl) -> None:
    """When credentials end and there are no others, every call is unavailable, nothing was sent, and the next are served."""
    tokens.lifetime = SOON
    async with open_dynamodb(url, deadline=1.0) as table:
        tokens.refuses = True
        await until_unavailable(table)
        calls = (
            table.get(KEY),
            table.query(b"p", limit=1),
            table.write(Put(KEY, b"")),
            table.write(Add(KEY, 1), Add(Key(b"q", b"s"), 1)),
        )
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 4
        tokens.refuses = False
        async with asyncio.timeout(10):
            while True:
                try:
                    await table.write(Put(KEY, b"new"))
                    break
                except UnavailableError:
                    continue
        written = await table.get(KEY)
        # On a slow machine a write that was not answered in time may have been done all the same.
        assert written
        assert (written.value, written.number) == (b"new", 0)


async def test_credentials_are_used_while_others_cannot_be_had(tokens: Tokens, url: TableUrl) -> None:
    """Five minutes before their end they are as good as ever, although nobody answers who asks for new ones."""
    tokens.lifetime = LATER
    async with open_dynamodb(url, deadline=1.0) as table:
        tokens.answers.clear()
        asked = tokens.calls
        async with asyncio.timeout(10):
            while tokens.calls == asked:
                await table.get(KEY)
        await table.write(Put(KEY, b"new"))
        assert await table.get(KEY) == Item(KEY, b"new", 0, 1)


async def test_credentials_that_take_longer_than_a_call_come_nevertheless(tokens: Tokens, url: TableUrl) -> None:
    """A call that waits for new credentials ends by its deadline; asking for them does not, and is done once for everybody."""
    tokens.lifetime = SOON
    async with open_dynamodb(url, deadline=0.5) as table:
        tokens.answers.clear()
        asked = tokens.calls
        await until_unavailable(table)
        with pytest.raises(UnavailableError):
            await table.get(KEY)
        tokens.lifetime = LATE
        tokens.answers.set()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await table.get(KEY) is None
                    break
                except UnavailableError:
                    continue
        assert tokens.calls == asked + 1
