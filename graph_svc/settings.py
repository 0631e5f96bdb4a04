"""Settings of the graph service."""

from typing import Literal

from pydantic import Field

from meshkit.rpc.addresses import Address
from meshkit.settings import MeshSettings


class GraphSettings(MeshSettings):
    """What the graph service needs to know, from FEEDMESH_… in the environment."""

    graph_listen: str = Field(default="127.0.0.1:50051", description="host:port; port 0 takes a free one")
    graph_table: str = Field(
        default="", repr=False, description="sqlite:///… or dynamodb://…; its own; default: graph.db in the data folder"
    )
    timeline_address: Address = "127.0.0.1:50053"
    signup: Literal["open", "restricted"] = Field(default="restricted", description="who may make accounts: all, or a scoped token")
    outbox_limit: int = Field(default=1_000_000, ge=1, description="events that may wait to be sent; more writes are refused")

    @property
    def table_url(self) -> str:
        """Where its data is."""
        return self.graph_table or self.table_file("graph.db")
