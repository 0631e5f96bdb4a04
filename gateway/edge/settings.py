"""What the edge app needs to know."""

from pydantic import Field

from meshkit.media.settings import MediaSettings


class EdgeSettings(MediaSettings):
    """How the edge app listens and what it refuses, from FEEDMESH_… in the environment. Media is where the post service has it."""

    edge_listen: str = Field(default="127.0.0.1:8081", pattern=r"^.+:[0-9]{1,5}$", description="host:port; port 0 takes a free one")
    edge_max_uploads: int = Field(default=64, ge=1, description="uploads under way at once; more are refused with 429")
    edge_max_uploads_per_user: int = Field(
        default=10, ge=1, description="of these for one user, as many as a post has pictures; more are refused with 429"
    )
    edge_idle_timeout: float = Field(default=30.0, gt=0, description="seconds that an upload may stand still")
    edge_min_rate: float = Field(
        default=1_024.0, gt=0, description="bytes a second that an upload must bring on average, after its first edge_idle_timeout"
    )
    edge_upload_timeout: float = Field(default=3_600.0, gt=0, description="seconds that an upload may take")
    edge_sweep_interval: float = Field(default=600.0, gt=0, description="seconds between two looks for what was never published")
