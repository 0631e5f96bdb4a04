"""Settings of the fan-out service."""

from pydantic import Field

from meshkit.rpc.addresses import Address
from meshkit.settings import MeshSettings


class FanoutSettings(MeshSettings):
    """What the fan-out service needs to know, from FEEDMESH_… in the environment."""

    fanout_listen: str = Field(default="127.0.0.1:50054", description="host:port; port 0 takes a free one")
    fanout_table: str = Field(
        default="", repr=False, description="sqlite:///… or dynamodb://…; default: fanout.db in the data folder"
    )
    graph_address: Address = "127.0.0.1:50051"
    timeline_address: Address = "127.0.0.1:50053"
    chunk_size: int = Field(default=5_000, ge=1, le=1_000_000, description="followers a chunk, about")
    batch_size: int = Field(default=5_000, ge=1, le=10_000, description="followers a call")
    planners: int = Field(default=64, ge=1, description="posts planned at once")
    workers: int = Field(default=64, ge=1, description="chunks delivered at once")
    late_seconds: float = Field(default=10, gt=0, description="age from which a job that is not done is sent again")
    sweep_seconds: float = Field(default=5, gt=0, description="how often late jobs are looked for")

    @property
    def table_url(self) -> str:
        """Where its data is."""
        return self.fanout_table or self.table_file("fanout.db")
