"""The service itself as a process of its own."""

import functools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.settings import Settings
from tests.support.processes import HOST, Server, free_port, http_answers, temporary_directory

__all__ = ["service"]


@contextmanager
def service(
    env: Mapping[str, str] | None = None,
    *,
    port: int | None = None,
    ready: str = "/health/live",
    program: str | None = None,
) -> Iterator[Server]:
    """The service itself, `python -m app`, with the settings `env` and no others, once `ready` answers 200.

    `program`: Python source that starts it instead, for a service with a constant of its own. It stops without the
    pause for a load balancer, unless `env` sets one. Its stdout and stderr are `.log`. SIGTERM ends it.
    """
    port = port or free_port()
    settings = {name.upper() for name in Settings.__struct_fields__}
    environ = {name: value for name, value in os.environ.items() if name not in settings}
    environ |= {"PORT": str(port), "PYTHONUNBUFFERED": "1", "DRAIN_SECONDS": "0", **(env or {})}
    with temporary_directory() as directory:
        answers = functools.partial(http_answers, path=ready, status=200)
        argv = [sys.executable, "-m", "app"] if program is None else [sys.executable, "-c", program]
        url = f"http://{HOST}:{port}"
        server = Server(argv, port=port, url=url, directory=directory, ready=answers, environ=environ)
        try:
            yield server.start()
        finally:
            server.stop()
