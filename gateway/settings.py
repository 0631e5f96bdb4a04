"""What the gateway needs to know."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from meshkit.rpc.addresses import Address
from meshkit.rpc.tls import Tls

# A page of 100 posts of 10,000 characters that JSON writes as six bytes each, with their URLs, fits.
MAX_RESPONSE_BYTES = 16 * 2**20

Origin = Annotated[str, Field(pattern=r"^https?://[^\s/*]+$", description="scheme://host[:port], exactly as browsers send it")]


class RateLimit(BaseModel):
    """A token bucket. Each Envoy process counts for itself."""

    model_config = ConfigDict(frozen=True)

    per_second: int = Field(ge=1, description="tokens that come back each second")
    burst: int = Field(ge=1, description="most tokens that can be saved up; a request costs one")

    @model_validator(mode="after")
    def _holds_a_second(self) -> Self:
        if self.burst < self.per_second:
            raise ValueError("burst must not be smaller than per_second")
        return self


class GatewaySettings(BaseModel):
    """How the gateway listens, whom it trusts, where the services are, and what it refuses."""

    model_config = ConfigDict(frozen=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65_535, description="0: any free port")
    upstreams: dict[str, Address] = Field(
        description="full name of each gRPC service that has app routes -> its address: host:port, or ip:port,ip:port for several"
    )
    reflection_upstream: Address | None = Field(
        default=None, description="server whose gRPC reflection the gateway shows; it should describe all services. Default: none"
    )
    edge_upstream: Address | None = Field(
        default=None, description="the app beside the gateway, for /media/, over plain HTTP. Default: none, and no such route"
    )
    tls_cert: Path | None = Field(
        default=None, description="the gateway's certificate, for TLS to the services; the three files are read when it starts"
    )
    tls_key: Path | None = Field(default=None, description="the certificate's private key")
    tls_ca: Path | None = Field(default=None, description="the authority of the services' certificates")
    tls_name: str = Field(default="feedmesh", min_length=1, description="DNS name in the certificate of every service")
    jwks_file: Path = Field(description="public keys that user tokens are verified with; read when the gateway starts")
    issuer: str = "feedmesh-dev"
    audience: str = "feedmesh"
    clock_skew_seconds: int = Field(default=5, ge=1, le=300, description="how far `exp` and `nbf` may be off")
    cors_origins: tuple[Origin, ...] = Field(default=(), description="web origins that browsers may call from; default: none")
    max_request_bytes: int = Field(default=262_144, ge=1_024, le=16_777_216)
    user_limit: RateLimit = Field(default=RateLimit(per_second=200, burst=400), description="for each user")
    address_limit: RateLimit = Field(
        default=RateLimit(per_second=200, burst=400),
        description="for each client address, where no token is verified: media, and calls without one",
    )
    max_limited_keys: int = Field(
        default=100_000, ge=1, description="users and addresses counted at once; the stalest is forgotten"
    )
    max_connections: int = Field(default=20_000, ge=1, description="open client connections")
    max_upstream_requests: int = Field(default=4_096, ge=1, description="calls under way to each service; more are refused")
    request_timeout: float = Field(default=10.0, gt=0, le=300, description="seconds for a call, from its last byte to the answer's")
    connect_timeout: float = Field(default=1.0, gt=0, le=60, description="seconds")
    receive_timeout: float = Field(default=30.0, gt=0, le=300, description="seconds a client may take to send a request")
    upload_timeout: float = Field(default=3_600.0, gt=0, description="seconds that an upload or a download of media may take")
    upload_idle_timeout: float = Field(default=60.0, gt=0, description="seconds until one that does not move is ended")
    idle_timeout: float = Field(default=300.0, gt=0, description="seconds until a quiet client connection is closed")
    health_interval: float = Field(default=1.0, gt=0, le=60, description="seconds between health checks of a service")
    admin: Path | int | None = Field(
        default=None,
        description="Envoy's own admin page: path of a unix socket, or a loopback port. Default: a socket in the folder",
    )
    concurrency: int = Field(default=1, ge=1, le=256, description="worker threads")
    log_level: Literal["trace", "debug", "info", "warning", "error"] = "warning"

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [self.tls_cert, self.tls_key, self.tls_ca]
        if any(given) and not all(given):
            raise ValueError("set all of tls_cert, tls_key and tls_ca, or none of them")
        return self

    def tls(self) -> Tls | None:
        """Say what TLS to the services needs; None when they are called without."""
        if self.tls_cert and self.tls_key and self.tls_ca:
            return Tls(self.tls_cert, self.tls_key, self.tls_ca, self.tls_name)
        return None
