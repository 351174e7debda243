"""A nats-server for tests, the system's or the newer one among the Python packages."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import HOST, Server, free_port, program, temporary_directory
from tests.support.waiting import ServerError

__all__ = ["nats_server", "newer_nats"]


def newer_nats() -> str:
    """The nats-server that is pinned among the Python packages: newer than that of the system."""
    path = Path(sys.executable).parent / "nats-server"
    if not path.exists():
        raise ServerError(f"{path} is missing: './dev setup' installs it")
    return str(path)


@contextmanager
def nats_server(
    *args: str | Path,
    jetstream: bool = True,
    host: str = HOST,
    port: int | None = None,
    binary: str | None = None,
) -> Iterator[Server]:
    """A nats-server, by default with JetStream, whose streams survive `restart()`; `binary` is another than PATH's."""
    port = port or free_port()
    with temporary_directory() as directory:
        words = ["-js", "-sd", str(directory / "jetstream")] if jetstream else []
        argv = [binary or program("nats-server"), "-a", host, "-p", str(port), *words, *args]

        def greets(server: Server) -> bool:
            with socket.create_connection((host, server.port), 1) as connection:
                return connection.recv(4096).startswith(b"INFO ")

        url = f"nats://{f'[{host}]' if ':' in host else host}:{port}"
        server = Server(argv, port=port, url=url, directory=directory, ready=greets)
        try:
            yield server.start()
        finally:
            server.kill()
