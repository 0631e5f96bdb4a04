"""Settings of the timeline service."""

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from meshkit.rpc.addresses import Address
from meshkit.settings import MeshSettings
from timeline_svc.redis_url import RedisUrl

PRIVATE_SERVER = "private://"


class TimelineSettings(MeshSettings):
    """What the timeline service needs to know, from FEEDMESH_… in the environment."""

    # The URL of the servers may hold a password.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    timeline_listen: str = Field(default="127.0.0.1:50053", description="host:port; port 0 takes a free one")
    redis_url: str = Field(
        default=PRIVATE_SERVER,
        repr=False,
        description="a server: redis://…, rediss://… (TLS) or unix://…; a Redis Cluster: redis+cluster://host:port,host:port… or "
        "rediss+cluster://…; private:// starts a server of its own",
    )
    graph_address: Address = "127.0.0.1:50051"
    post_address: Address = "127.0.0.1:50052"
    inactive_days: float = Field(default=30, gt=0, le=30, description="days after which a timeline that nobody reads goes")
    cached_bytes: int = Field(default=256 * 2**20, ge=0, description="memory for posts kept in the process")
    cached_seconds: float = Field(default=600, gt=0, description="longest that a kept post is believed unchecked")

    @field_validator("redis_url")
    @classmethod
    def _understood(cls, url: str) -> str:
        if url != PRIVATE_SERVER:
            RedisUrl.parse(url)
        return url
