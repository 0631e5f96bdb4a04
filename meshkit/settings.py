"""Settings that every service has. They come from the environment, prefix FEEDMESH_; a service adds its own."""

from pathlib import Path
from urllib.parse import quote

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER, ServiceTokens, UserTokens
from meshkit.issuer import Issuer
from meshkit.keys import load_or_create
from meshkit.paging import PageTokens
from meshkit.rpc.server import Listen

_NOTHING_OR_LONG = r"^(|.{32,})$"


class MeshSettings(BaseSettings):
    """What all services need to know. The defaults run the mesh on one machine, with its data in `.feedmesh/`."""

    model_config = SettingsConfigDict(env_prefix="FEEDMESH_", frozen=True, extra="ignore")

    data_dir: Path = Path(".feedmesh")
    worker: int = Field(default=0, ge=0, le=1023, description="number of this process among all; no two may share one")
    queue_url: str = Field(default="memory://", pattern=r"^memory://$")
    jwks_file: Path | None = Field(
        default=None, description="keys that user tokens are verified with; default: the development issuer's"
    )
    token_issuer: str = DEFAULT_ISSUER
    token_audience: str = DEFAULT_AUDIENCE
    service_key: str = Field(
        default="", pattern=_NOTHING_OR_LONG, description="secret of all services; default: in the data folder"
    )
    page_key: str = Field(default="", pattern=_NOTHING_OR_LONG, description="signs page tokens; default: in the data folder")
    reflection: bool = Field(default=False, description="let grpcurl and buf curl ask for the contract")
    drain_notice: float = Field(default=0.0, ge=0, le=60, description="seconds between saying NOT_SERVING and refusing calls")
    max_concurrent_calls: int = Field(default=2_000, ge=1)
    log_level: str = "info"

    def table_file(self, name: str) -> str:
        """Give the URL of a table in the data folder."""
        return f"sqlite:///{quote(str(self.data_dir / name))}"

    @property
    def keys_dir(self) -> Path:
        """Where keys that were not given are made."""
        return self.data_dir / "keys"

    def user_tokens(self) -> UserTokens:
        """Make the verifier of user tokens."""
        jwks = self.jwks_file
        if jwks is None:
            Issuer.load_or_create(self.keys_dir, issuer=self.token_issuer, audience=self.token_audience)
            jwks = self.keys_dir / "jwks.json"
        return UserTokens(jwks, issuer=self.token_issuer, audience=self.token_audience)

    def service_tokens(self, service: str) -> ServiceTokens:
        """Make the tokens of a service of the mesh."""
        key = self.service_key.encode() or load_or_create(self.keys_dir / "service.key")
        return ServiceTokens(key, service)

    def page_tokens(self) -> PageTokens:
        """Make the signer of page tokens."""
        return PageTokens([self.page_key.encode() or load_or_create(self.keys_dir / "page.key")])

    def listen(self, address: str) -> Listen:
        """Say how to serve at an address."""
        return Listen(
            address=address,
            reflection=self.reflection,
            max_concurrent_calls=self.max_concurrent_calls,
            drain_notice=self.drain_notice,
        )
