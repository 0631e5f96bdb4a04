"""Mutual TLS between the services: each shows a certificate of the mesh's own authority, and takes nobody else's."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """What a process shows and whom it believes, as PEM files. `name` is a DNS name that every server's certificate has.

    gRPC speaks TLS 1.2 and 1.3.
    """

    certificate: Path
    key: Path
    authority: Path
    name: str

    def server(self) -> grpc.ServerCredentials:
        """Give what a server needs. It looks at the files at every handshake, so certificates may be replaced while it runs.

        Raises:
            OSError: the files cannot be used.

        """
        self.check()
        known = self._stamps()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal known
            try:
                found = self._stamps()
                if found == known:
                    return None
                self.check()  # certificate and key are replaced one after the other; until they fit, the old ones are used
                fresh = self._for_server()
            except OSError:
                return None
            known = found
            return fresh

        return grpc.dynamic_ssl_server_credentials(
            self._for_server(),
            renewed,  # type: ignore[arg-type]  # the stubs do not know that None stands for no change
            require_client_authentication=True,
        )

    def client(self) -> grpc.ChannelCredentials:
        """Give what a client needs. It is read once: a process that only calls takes new certificates when it is started again.

        Raises:
            OSError: the files cannot be used.

        """
        self.check()
        return grpc.ssl_channel_credentials(self.authority.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes())

    def _for_server(self) -> grpc.ServerCertificateConfiguration:
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], self.authority.read_bytes())

    def _stamps(self) -> list[tuple[int, int]]:
        stats = (file.stat() for file in (self.certificate, self.key, self.authority))
        return [(each.st_mtime_ns, each.st_ino) for each in stats]

    def check(self) -> None:
        """Find out what is wrong, in words that gRPC and Envoy do not have.

        Raises:
            OSError: the files cannot be used.

        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(self.authority)
        except OSError as error:
            raise OSError(f"cannot use {self.certificate}, {self.key} and {self.authority} for TLS: {error}") from error
