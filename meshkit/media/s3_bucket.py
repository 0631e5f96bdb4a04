"""Getting a bucket ready. What this program made it also looks after; a bucket of somebody else's is only looked at.

Settings are read, added to and written back, as S3 can do no less. Two that add to one bucket at the very same moment may lose one
of the additions: it is made at the next start.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import structlog

from meshkit.errors import UnavailableError
from meshkit.media.port import PUBLISHED, UPLOADS
from meshkit.media.s3_calls import RefusedError, answer, log_refusal

if TYPE_CHECKING:  # development stubs only
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CreateBucketConfigurationTypeDef, TagTypeDef

_HOME = "us-east-1"  # the one region that a new bucket must not name
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_DAYS = 1
_log = structlog.get_logger(__name__)

Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lack:
    """What a bucket lacks, in words, and how to add it."""

    what: str
    add: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, and the part of it below a prefix. `deadline` is for each call, in seconds.

    Without `is_open` a CDN serves what is published, and the bucket stays closed.
    """

    client: "S3Client"
    name: str
    region: str
    prefix: str
    is_open: bool
    deadline: float

    async def prepare(self) -> bool:
        """Get the bucket ready, unless S3 cannot now: then it has to be tried again. A refusal is only logged."""
        try:
            await self._prepare()
        except UnavailableError:
            return False
        except RefusedError as refusal:
            log_refusal("the media bucket cannot be prepared", refusal, bucket=self.name)
            return not refusal.is_passing
        return True

    async def keep_preparing(self) -> None:
        """Try until the bucket is ready, after pauses that grow to a minute."""
        pause = _FIRST_PAUSE_S
        while True:
            await asyncio.sleep(random.SystemRandom().uniform(pause / 2, pause))
            if await self.prepare():
                return
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _prepare(self) -> None:
        await self._make()
        looks = (self._expiry, self._readers, self._pages) if self.is_open else (self._expiry,)
        lacks = [lack for look in looks if (lack := await look())]
        if await self._is_ours():
            for lack in lacks:
                await lack.add()
        elif lacks:
            what = "; ".join(lack.what for lack in lacks)
            _log.warning("the media bucket is not one that this program made: set it up", bucket=self.name, missing=what)

    async def _make(self) -> None:
        """Make the bucket if it is missing, marked as ours. S3 makes it encrypted and closed to the public."""
        try:
            await self._call(self.client.head_bucket(Bucket=self.name))
        except RefusedError as refusal:
            if not refusal.is_missing:
                raise
            await self._create()

    async def _create(self) -> None:
        mark: TagTypeDef = {"Key": "made-by", "Value": "feedmesh"}
        how: CreateBucketConfigurationTypeDef = {"Tags": [mark]}
        if self.region != _HOME:
            how["LocationConstraint"] = self.region  # type: ignore[typeddict-item]
        try:
            await self._call(self.client.create_bucket(Bucket=self.name, CreateBucketConfiguration=how))
        except RefusedError as refusal:
            if refusal.code != "BucketAlreadyOwnedByYou":  # another worker was first
                raise
        else:
            if not await self._tags():  # some servers make the bucket without them
                await self._call(self.client.put_bucket_tagging(Bucket=self.name, Tagging={"TagSet": [mark]}))

    async def _is_ours(self) -> bool:
        return {"Key": "made-by", "Value": "feedmesh"} in await self._tags()

    async def _tags(self) -> list[Rule]:
        return list(await self._setting(self.client.get_bucket_tagging(Bucket=self.name), "TagSet", "NoSuchTagSet") or [])

    async def _expiry(self) -> Lack | None:
        """Look for a rule that removes uploads which nobody published."""
        reading = self.client.get_bucket_lifecycle_configuration(Bucket=self.name)
        rules = list(await self._setting(reading, "Rules", "NoSuchLifecycleConfiguration") or [])
        where, own = self.prefix + UPLOADS, f"unpublished-uploads {self.prefix}"
        if any(_expires(rule, where) for rule in rules):
            return None
        rule = {"ID": own, "Status": "Enabled", "Filter": {"Prefix": where}, "Expiration": {"Days": _DAYS}}

        async def add() -> None:
            all_rules: Any = [*(other for other in rules if other.get("ID") != own), rule]
            change = self.client.put_bucket_lifecycle_configuration
            await self._call(change(Bucket=self.name, LifecycleConfiguration={"Rules": all_rules}))

        return Lack(f"a lifecycle rule that expires {where} after {_DAYS} day", add)

    async def _readers(self) -> Lack | None:
        """Look for our statement that opens what is published, and nothing else."""
        text = await self._setting(self.client.get_bucket_policy(Bucket=self.name), "Policy", "NoSuchBucketPolicy")
        policy: Rule = json.loads(text) if text else {"Version": "2012-10-17", "Statement": []}
        found = policy["Statement"]
        statements: list[Rule] = found if isinstance(found, list) else [found]
        published = f"arn:aws:s3:::{self.name}/{self.prefix}{PUBLISHED}*"
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": published}
        own = f"FeedmeshMedia{sha256(self.prefix.encode()).hexdigest()[:16]}"  # letters and digits only
        if any(allowed.items() <= statement.items() for statement in statements):
            return None

        async def add() -> None:
            others = [statement for statement in statements if statement.get("Sid") != own]
            text = json.dumps(policy | {"Statement": [*others, {"Sid": own, **allowed}]})
            await self._call(self.client.delete_public_access_block(Bucket=self.name))
            await self._call(self.client.put_bucket_policy(Bucket=self.name, Policy=text))

        return Lack(f"a policy that lets anybody read {self.prefix}{PUBLISHED}", add)

    async def _pages(self) -> Lack | None:
        """Look for a rule that lets web pages of any origin upload with a signed URL."""
        rules = list(
            await self._setting(self.client.get_bucket_cors(Bucket=self.name), "CORSRules", "NoSuchCORSConfiguration") or []
        )
        if any("PUT" in rule["AllowedMethods"] for rule in rules):
            return None
        rule = {"AllowedMethods": ["GET", "HEAD", "PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["content-type"]}

        async def add() -> None:
            all_rules: Any = [*rules, rule]
            await self._call(self.client.put_bucket_cors(Bucket=self.name, CORSConfiguration={"CORSRules": all_rules}))

        return Lack("a CORS rule for PUT", add)

    async def _setting(self, reading: Awaitable[Any], name: str, absent: str) -> Any:  # noqa: ANN401 - each is of another type
        """Read a setting, or None where the bucket has none of the kind."""
        try:
            return (await self._call(reading))[name]
        except RefusedError as refusal:
            if refusal.code != absent:
                raise
            return None

    async def _call(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401
        return await answer(call, self.deadline)


def _expires(rule: Rule, where: str) -> bool:
    """Whether a lifecycle rule removes everything there, and soon."""
    scope = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
    narrowed = scope.keys() - {"Prefix"}
    soon = 1 <= rule.get("Expiration", {}).get("Days", 0) <= 2 * _DAYS
    return rule["Status"] == "Enabled" and not narrowed and where.startswith(scope.get("Prefix", "")) and soon
