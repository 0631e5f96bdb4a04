"""Settings that every service has. They come from the environment, prefix FEEDMESH_; a service adds its own."""

from pathlib import Path
from typing import Self
from urllib.parse import quote

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from meshkit.auth import DEFAULT_AUDIENCE, DEFAULT_ISSUER, ServiceTokens, UserTokens
from meshkit.issuer import Issuer
from meshkit.keys import load_or_create
from meshkit.paging import PageTokens
from meshkit.rpc.server import Listen
from meshkit.rpc.tls import Tls

_NOTHING_OR_LONG = r"^(|.{32,})$"
_QUEUE_URL = r"^(memory://|amqps?://\S+)$"


class MeshSettings(BaseSettings):
    """What all services need to know. The defaults run the mesh on one machine, with its data in `.feedmesh/`."""

    # Keys, and URLs that may hold a password, are kept out of error messages and out of `repr`.
    model_config = SettingsConfigDict(env_prefix="FEEDMESH_", frozen=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Path(".feedmesh")
    worker: int = Field(default=0, ge=0, le=1023, description="number of this process among all; no two may share one")
    queue_url: str = Field(
        default="memory://", pattern=_QUEUE_URL, repr=False, description="memory://, or amqp://… or amqps://… for RabbitMQ"
    )
    jwks_file: Path | None = Field(
        default=None, description="keys that user tokens are verified with; default: the development issuer's"
    )
    token_issuer: str = DEFAULT_ISSUER
    token_audience: str = DEFAULT_AUDIENCE
    service_key: str = Field(
        default="", pattern=_NOTHING_OR_LONG, repr=False, description="secret of all services; default: in the data folder"
    )
    page_key: str = Field(
        default="", pattern=_NOTHING_OR_LONG, repr=False, description="signs page tokens; default: in the data folder"
    )
    tls_cert: Path | None = Field(
        default=None, description="this process's certificate, with what leads to the authority, for TLS between the services"
    )
    tls_key: Path | None = Field(default=None, description="the certificate's private key, without a password")
    tls_ca: Path | None = Field(
        default=None, description="the authority of the mesh; whoever has a certificate of it counts as part of the mesh"
    )
    tls_name: str = Field(default="feedmesh", min_length=1, description="DNS name in the certificate of every service")
    reflection: bool = Field(default=False, description="let grpcurl and buf curl ask for the contract")
    drain_notice: float = Field(default=0.0, ge=0, le=60, description="seconds between saying NOT_SERVING and refusing calls")
    max_concurrent_calls: int = Field(default=2_000, ge=1)
    max_connection_age: float = Field(
        default=300, ge=1, le=86_400, description="seconds until a caller has to connect anew, and finds new processes"
    )
    log_level: str = "info"

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [self.tls_cert, self.tls_key, self.tls_ca]
        if any(given) and not all(given):
            raise ValueError("set all of FEEDMESH_TLS_CERT, FEEDMESH_TLS_KEY and FEEDMESH_TLS_CA, or none of them")
        return self

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

    def tls(self) -> Tls | None:
        """Say what TLS between the services needs; None when they speak without."""
        if self.tls_cert and self.tls_key and self.tls_ca:
            return Tls(self.tls_cert, self.tls_key, self.tls_ca, self.tls_name)
        return None

    def listen(self, address: str) -> Listen:
        """Say how to serve at an address."""
        return Listen(
            address=address,
            reflection=self.reflection,
            max_concurrent_calls=self.max_concurrent_calls,
            drain_notice=self.drain_notice,
            max_connection_age=self.max_connection_age,
            tls=self.tls(),
        )
