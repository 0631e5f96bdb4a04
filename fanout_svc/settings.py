"""Settings of the fan-out service."""

from typing import Self

from pydantic import Field, model_validator

from fanout_svc.policy import Policy
from meshkit.rpc.addresses import Address
from meshkit.settings import MeshSettings


class FanoutSettings(MeshSettings):
    """What the fan-out service needs to know, from FEEDMESH_… in the environment."""

    fanout_listen: str = Field(default="127.0.0.1:50054", description="host:port; port 0 takes a free one")
    fanout_table: str = Field(
        default="", repr=False, description="sqlite:///… or dynamodb://…; default: fanout.db in the data folder"
    )
    graph_address: Address = "127.0.0.1:50051"
    post_address: Address = "127.0.0.1:50052"
    timeline_address: Address = "127.0.0.1:50053"
    chunk_size: int = Field(default=5_000, ge=1, le=1_000_000, description="followers a chunk, about")
    batch_size: int = Field(default=2_500, ge=1, le=10_000, description="followers a call")
    planners: int = Field(default=32, ge=1, description="posts planned at once, those with one chunk delivered as well")
    workers: int = Field(default=16, ge=1, description="chunks delivered at once, of jobs with up to 20")
    bulk_workers: int = Field(default=2, ge=1, description="chunks delivered at once, of jobs with more than 20")
    late_seconds: float = Field(default=10, gt=0, description="age from which a job that is not done is sent again")
    sweep_seconds: float = Field(default=5, gt=0, description="how often late jobs are looked for")
    pull_threshold: int = Field(default=10_000, ge=1, description="active followers from which on an author may be pulled")
    push_threshold: int = Field(
        default=0, ge=0, description="active followers below which an author is pushed again; 0: eight tenths of pull_threshold"
    )
    reads_a_day: float = Field(default=10, gt=0, description="how often an active user reads the feed")
    push_cost_us: float = Field(default=8.0, gt=0, description="microseconds of CPU to read one follower and push one post to it")
    merge_cost_us: float = Field(default=0.3, gt=0, description="microseconds of CPU to merge one pulled author into one read")

    @model_validator(mode="after")
    def _thresholds_are_ordered(self) -> Self:
        if self.push_threshold > self.pull_threshold:
            raise ValueError("FEEDMESH_PUSH_THRESHOLD must not be above FEEDMESH_PULL_THRESHOLD")
        return self

    @property
    def table_url(self) -> str:
        """Where its data is."""
        return self.fanout_table or self.table_file("fanout.db")

    def policy(self) -> Policy:
        """Say who is pulled."""
        push_threshold = self.push_threshold or self.pull_threshold * 8 // 10
        return Policy(self.pull_threshold, push_threshold, self.reads_a_day, self.push_cost_us, self.merge_cost_us)
