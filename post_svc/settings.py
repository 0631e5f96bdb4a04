"""Settings of the post service."""

from pydantic import Field

from meshkit.media.settings import MediaSettings
from meshkit.rpc.addresses import Address


class PostSettings(MediaSettings):
    """What the post service needs to know, from FEEDMESH_… in the environment."""

    post_listen: str = Field(default="127.0.0.1:50052", description="host:port; port 0 takes a free one")
    post_table: str = Field(
        default="", repr=False, description="sqlite:///… or dynamodb://…; its own; default: posts.db in the data folder"
    )
    graph_address: Address = "127.0.0.1:50051"
    outbox_limit: int = Field(default=1_000_000, ge=1, description="events that may wait to be sent; more writes are refused")

    @property
    def table_url(self) -> str:
        """Where its data is."""
        return self.post_table or self.table_file("posts.db")
