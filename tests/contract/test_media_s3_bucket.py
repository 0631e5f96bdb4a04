"""What the S3 engine does to buckets: its own it looks after, others' it leaves alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from meshkit.aws import Access, open_client
from meshkit.media.port import Stored
from meshkit.media.s3 import S3Media, open_s3
from tests.contract.media import Client, bucket, proxy_to, s3_server, said

if TYPE_CHECKING:  # development stubs only
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import LifecycleRuleTypeDef, PublicAccessBlockConfigurationTypeDef

BODY = b"GIF89a picture"
GIF = Stored("image/gif", len(BODY))
UPLOAD, KEY = "uploads/7/12.gif", "media/7/12-0a1b2c.gif"
BLOCKED: "PublicAccessBlockConfigurationTypeDef" = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
OTHERS_RULE: "LifecycleRuleTypeDef" = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def access(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Access]:
    """Run one server for all tests."""
    async with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Give an HTTP client."""
    async with aiohttp.ClientSession() as http:
        yield Client(http)


@pytest.fixture
async def s3(access: Access) -> AsyncIterator["S3Client"]:
    """Look at the buckets as their owner."""
    async with open_client("s3", access, read_timeout=5, connections=5, s3={"addressing_style": "path"}) as opened:
        yield opened


async def publish(store: S3Media, client: Client) -> str:
    """Upload and publish, and give the public URL."""
    assert await client.put(await store.presign_put(UPLOAD, GIF, 60), BODY) == 200
    await store.publish(await store.arrived(UPLOAD, GIF), KEY)
    return f"{store.public_url}/{KEY}"


async def statements(s3: "S3Client", name: str) -> list[dict[str, Any]]:
    """Give the bucket's policy."""
    found: list[dict[str, Any]] = json.loads((await s3.get_bucket_policy(Bucket=name))["Policy"])["Statement"]
    return found


async def expiries(s3: "S3Client", name: str) -> dict[str, str]:
    """Give the prefixes of the bucket's lifecycle rules, by id."""
    rules = (await s3.get_bucket_lifecycle_configuration(Bucket=name))["Rules"]
    return {rule["ID"]: rule["Filter"]["Prefix"] for rule in rules}


async def test_a_bucket_of_others_is_left_alone(access: Access, s3: "S3Client", client: Client, tmp_path: Path) -> None:
    """Opening a bucket that was there keeps its block of the public, policy, rules and tags; one warning names what it lacks."""
    where = bucket(access, tmp_path, "app")
    statement = {"Sid": "own", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{where.bucket}/x/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await s3.create_bucket(Bucket=where.bucket)
    await s3.put_bucket_policy(Bucket=where.bucket, Policy=policy)
    await s3.put_public_access_block(Bucket=where.bucket, PublicAccessBlockConfiguration=BLOCKED)
    await s3.put_bucket_lifecycle_configuration(Bucket=where.bucket, LifecycleConfiguration={"Rules": [OTHERS_RULE]})
    await s3.put_bucket_tagging(Bucket=where.bucket, Tagging={"TagSet": [{"Key": "made-by", "Value": "somebody"}]})
    with capture_logs() as logs:
        async with open_s3(where, public_url="") as store:
            url = await publish(store, client)
            assert (await client.read(url))[0] == 403
    assert await statements(s3, where.bucket) == [statement]
    assert (await s3.get_public_access_block(Bucket=where.bucket))["PublicAccessBlockConfiguration"] == BLOCKED
    assert await expiries(s3, where.bucket) == {"logs": "logs/"}
    (warning,) = [log for log in logs if log["log_level"] == "warning"]
    assert (warning["bucket"], len(warning["missing"].split("; "))) == (where.bucket, 3)
    for lack in ("lifecycle rule that expires app/uploads/", "policy that lets anybody read app/media/", "CORS rule"):
        assert lack in warning["missing"]


async def test_a_bucket_of_others_that_is_set_up_is_no_matter(access: Access, s3: "S3Client", tmp_path: Path) -> None:
    """A bucket whose rules expire uploads soon, under whatever name, needs no warning; a slow, narrow or disabled rule does."""
    where = bucket(access, tmp_path, "app")
    await s3.create_bucket(Bucket=where.bucket)
    for change, warnings in (
        ({}, 0),
        ({"Filter": {"Prefix": ""}}, 0),
        ({"Expiration": {"Days": 365}}, 1),
        ({"Status": "Disabled"}, 1),
        ({"Filter": {"And": {"Prefix": "app/", "Tags": [{"Key": "a", "Value": "b"}]}}}, 1),
        ({"Filter": {"Prefix": "other/"}}, 1),
    ):
        rule: Any = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "app/uploads/"}, "Expiration": {"Days": 1}, **change}
        await s3.put_bucket_lifecycle_configuration(Bucket=where.bucket, LifecycleConfiguration={"Rules": [rule]})
        with capture_logs() as logs:
            async with open_s3(where, public_url="https://cdn.example"):
                pass
        assert len([log for log in logs if log["log_level"] == "warning"]) == warnings


async def test_two_meshes_share_a_bucket(access: Access, s3: "S3Client", client: Client, tmp_path: Path) -> None:
    """Each prefix of a bucket that this program made has its own statement and rule, whoever comes later, and others' stay."""
    one, two = bucket(access, tmp_path, "one"), bucket(access, tmp_path, "two")
    foreign = {"Sid": "x", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{one.bucket}/x/*"}
    async with open_s3(one, public_url="") as first:
        url = await publish(first, client)
        policy = json.dumps({"Version": "2012-10-17", "Statement": [*await statements(s3, one.bucket), foreign]})
        await s3.put_bucket_policy(Bucket=one.bucket, Policy=policy)
        async with open_s3(two, public_url="") as second:
            for each in (url, await publish(second, client)):
                assert (await client.read(each))[0] == 200
    before = await statements(s3, one.bucket)
    assert (len(before), foreign in before) == (3, True)
    assert len({statement["Sid"] for statement in before}) == 3
    assert sorted((await expiries(s3, one.bucket)).values()) == ["one/uploads/", "two/uploads/"]
    async with open_s3(one, public_url=""):
        assert await statements(s3, one.bucket) == before
        assert len(await expiries(s3, one.bucket)) == 2


@pytest.mark.parametrize("broken", ["lifecycle", "publicAccessBlock", "policy", "cors"])
async def test_what_a_crash_left_undone_is_done_at_the_next_start(
    access: Access, s3: "S3Client", client: Client, tmp_path: Path, broken: str
) -> None:
    """When S3 stops answering in the middle of getting a new bucket ready, the next start brings it to its end."""

    async def fails(request: web.Request) -> web.Response | None:
        return said("AccessDenied", 403) if broken in request.query and request.method in {"PUT", "DELETE"} else None

    async with proxy_to(access) as proxy:
        proxy.fault = fails
        with capture_logs() as logs:
            async with open_s3(bucket(proxy.access, tmp_path), public_url=""):
                pass
    assert [log["code"] for log in logs if log["event"] == "the media bucket cannot be prepared"] == ["AccessDenied"]
    where = bucket(access, tmp_path)
    async with open_s3(where, public_url="") as store:
        assert (await client.read(await publish(store, client)))[0] == 200
    assert list((await expiries(s3, where.bucket)).values()) == ["uploads/"]
    assert (await s3.get_bucket_cors(Bucket=where.bucket))["CORSRules"]


async def test_a_role_that_may_not_look_at_settings_is_enough(
    access: Access, s3: "S3Client", client: Client, tmp_path: Path
) -> None:
    """Where the bucket's settings cannot be read, that is logged once, and media is taken and published all the same."""

    async def refuses(request: web.Request) -> web.Response | None:
        return said("AccessDenied", 403) if request.query_string in {"lifecycle", "tagging"} else None

    await s3.create_bucket(Bucket=bucket(access, tmp_path).bucket)
    async with proxy_to(access) as proxy:
        proxy.fault = refuses
        with capture_logs() as logs:
            async with open_s3(bucket(proxy.access, tmp_path), public_url="https://cdn.example") as store:
                await publish(store, client)
    assert [(log["event"], log["code"]) for log in logs] == [("the media bucket cannot be prepared", "AccessDenied")]


async def test_a_bucket_is_marked_where_a_server_makes_it_without_tags(access: Access, s3: "S3Client", tmp_path: Path) -> None:
    """A server that makes a bucket and drops its tags is told them again, and the bucket is known at the next start."""
    where = bucket(access, tmp_path)

    async def drops_tags(request: web.Request) -> web.Response | None:
        if request.method == "PUT" and not request.query_string and request.path.count("/") == 1:
            await s3.create_bucket(Bucket=where.bucket)
            return web.Response()
        return None

    async with proxy_to(access) as proxy:
        proxy.fault = drops_tags
        async with open_s3(bucket(proxy.access, tmp_path), public_url=""):
            pass
    assert (await s3.get_bucket_tagging(Bucket=where.bucket))["TagSet"] == [{"Key": "made-by", "Value": "feedmesh"}]
    assert len(await statements(s3, where.bucket)) == 1


async def test_a_bucket_is_got_ready_when_s3_is_back(access: Access, client: Client, tmp_path: Path) -> None:
    """A store that opened while S3 was away makes its bucket once S3 answers, with nobody asking."""
    is_away = True

    async def away(_request: web.Request) -> web.Response | None:
        return said("ServiceUnavailable", 503) if is_away else None

    async with proxy_to(access) as proxy:
        proxy.fault = away
        async with open_s3(bucket(proxy.access, tmp_path), public_url="") as store:
            upload = await store.presign_put(UPLOAD, GIF, 60)
            assert await client.put(upload, BODY) == 503
            is_away = False
            async with asyncio.timeout(20):
                while await client.put(upload, BODY) != 200:
                    pass
                while (await client.read(await publish(store, client)))[0] != 200:
                    pass
