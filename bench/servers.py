"""The servers that are measured: a Redis that keeps what it has, the service, and the floor."""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.measure import Target
from tests.support.processes import Server, free_port
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service

__all__ = ["kept_redis", "serving", "the_floor"]

_PERSISTENT: Final = ("--appendonly", "yes", "--appendfsync", "everysec")
# A rewrite of the log, which comes every 64 MB at first, would fall into some runs and not into others.
_NO_REWRITE: Final = ("--auto-aof-rewrite-percentage", "0")


@contextmanager
def kept_redis(*words: str) -> Iterator[RedisServer]:
    """A Redis that writes what it has to a disk, with more `words` for redis-server."""
    with redis_server(*_PERSISTENT, *_NO_REWRITE, *words) as server:
        yield server


@contextmanager
def serving(redis: RedisServer, **settings: str) -> Iterator[Target]:
    """The service as it is shipped, in one process unless `settings` say otherwise."""
    with service({"REDIS_URL": redis.url, "LOG_LEVEL": "warning", **settings}) as server:
        yield Target("service", server.url, server.pid, redis.pid)


def _answers(server: Server) -> bool:
    body = b'{"user_id":"first","candidates":[{"id":"t","content":"c","source":"s"}]}'
    with urllib.request.urlopen(f"{server.url}/score", body, timeout=2) as answer:
        return bool(answer.status == 200)


@contextmanager
def the_floor(redis: RedisServer) -> Iterator[Target]:
    """The program that everything is compared with."""
    port = free_port()
    words = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    argv = [sys.executable, "-m", "uvicorn", "bench.floor:app", "--port", str(port), *words]
    with TemporaryDirectory() as directory:
        url = f"http://127.0.0.1:{port}"
        environ = {"REDIS_URL": redis.url, "PATH": ""}
        server = Server(argv, port=port, url=url, directory=Path(directory), ready=_answers, environ=environ)
        try:
            yield Target("floor", url, server.start().pid, redis.pid)
        finally:
            server.stop()
