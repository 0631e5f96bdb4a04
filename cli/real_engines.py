"""The real engines, private to a mesh on one machine: RabbitMQ, Valkey, and a server that speaks DynamoDB and S3."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from meshkit.ministack import ACCESS_KEY, REGION, SECRET_KEY, private_ministack
from meshkit.private_rabbitmq import private_rabbitmq
from meshkit.valkey import private_valkey


@dataclass(frozen=True, slots=True)
class RealEngines:
    """Where the engines are."""

    queue_url: str
    redis_url: str
    aws_url: str

    def table(self, name: str) -> str:
        """Give the URL of a table."""
        return f"dynamodb://{ACCESS_KEY}:{SECRET_KEY}@{REGION}/feedmesh-{name}?endpoint_url={quote(self.aws_url, safe='')}"

    @property
    def media(self) -> str:
        """Give the URL of the media bucket."""
        return f"s3://{ACCESS_KEY}:{SECRET_KEY}@feedmesh-media?region={REGION}&endpoint_url={quote(self.aws_url, safe='')}"


@asynccontextmanager
async def private_engines(folder: Path) -> AsyncIterator[RealEngines]:
    """Run the engines for the length of a block, on free ports, with their data in the folder.

    Raises ChildError when one does not start, with what to install if it is not there.
    """
    async with AsyncExitStack() as stack:
        redis_url = await stack.enter_async_context(private_valkey(folder))
        aws_url = await stack.enter_async_context(private_ministack(folder))
        queue_url = await stack.enter_async_context(private_rabbitmq(folder))
        yield RealEngines(queue_url, redis_url, aws_url)
