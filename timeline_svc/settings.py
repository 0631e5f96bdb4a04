"""Settings of the timeline service."""

from pydantic import Field

from meshkit.settings import MeshSettings


class TimelineSettings(MeshSettings):
    """What the timeline service needs to know, from FEEDMESH_… in the environment."""

    timeline_listen: str = Field(default="127.0.0.1:50053", description="host:port; port 0 takes a free one")
    redis_url: str = Field(default="private://", description="redis://… or unix://…; private:// starts a server of its own")
    graph_address: str = "127.0.0.1:50051"
    post_address: str = "127.0.0.1:50052"
    cached_bytes: int = Field(default=256 * 2**20, ge=0, description="memory for posts kept in the process")
    cached_seconds: float = Field(default=600, gt=0, description="longest that a kept post is believed unchecked")
