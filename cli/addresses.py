"""Where the services of a mesh on one machine listen: settled before any of them starts, since they call each other in a circle."""

import socket

from cli.parts import MeshOptions
from meshkit.sockets import free_port

SERVICES = ("graph", "post", "timeline", "fanout")


def settled(options: MeshOptions, processes: int) -> dict[str, tuple[str, ...]]:
    """Give the address of each process of each service. Raises OSError when a port is taken."""
    return {name: tuple(_bindable(options.listen(name, process)) for process in range(processes)) for name in SERVICES}


def _bindable(address: str) -> str:
    """Take a free port for port 0, and make sure that nobody else has the port. Raises OSError."""
    host, _, port = address.rpartition(":")
    if port == "0":
        return f"{host}:{free_port()}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise OSError(f"a service cannot listen on {address}: {error.strerror}; --free-ports takes others") from error
    return address
