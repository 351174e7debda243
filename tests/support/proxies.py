"""Proxies in front of the service for tests: haproxy and nginx."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import HOST, Server, free_port, http_answers, program, temporary_directory

__all__ = ["haproxy", "nginx"]

HAPROXY = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout check 1s
    option redispatch
    retries 3
frontend replicas
    bind $ADDRESS
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /health/ready
    default-server check inter 200ms fall 1 rise 1
"""


@contextmanager
def haproxy(backends: Sequence[Server] | str) -> Iterator[Server]:
    """A haproxy before `backends`, asking each for /health/ready; or with a configuration of the test's own.

    In a configuration given as text, `$ADDRESS` stands for the address to bind.
    """
    port = free_port()
    if isinstance(backends, str):
        config = backends
    else:
        rows = [f"    server replica{index} {HOST}:{server.port}\n" for index, server in enumerate(backends)]
        config = HAPROXY + "".join(rows)
    with temporary_directory() as directory:
        path = directory / "haproxy.cfg"
        path.write_text(config.replace("$ADDRESS", f"{HOST}:{port}"))
        argv = [program("haproxy"), "-db", "-f", str(path)]
        url = f"http://{HOST}:{port}"
        server = Server(argv, port=port, url=url, directory=directory, ready=functools.partial(http_answers, path="/"))
        try:
            yield server.start()
        finally:
            server.kill()


# What nginx's documents tell people to set for WebSockets: it passes on any offer to upgrade.
NGINX = """
daemon off;
master_process off;
pid $DIRECTORY/pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $DIRECTORY/body;
    proxy_temp_path $DIRECTORY/proxy;
    fastcgi_temp_path $DIRECTORY/fastcgi;
    uwsgi_temp_path $DIRECTORY/uwsgi;
    scgi_temp_path $DIRECTORY/scgi;
    map $http_upgrade $connection_upgrade {
        default upgrade;
        ''      '';
    }
    upstream replicas {
        server $BACKEND;
        keepalive 8;
    }
    server {
        listen $ADDRESS;
        location $PREFIX/ {
            proxy_pass http://replicas$TARGET;
            $HEADER
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }
    }
}
"""


@contextmanager
def nginx(backend: Server, prefix: str = "", *, removes: bool = False) -> Iterator[Server]:
    """An nginx before `backend`, which keeps its connections to it and passes on offers to upgrade.

    It publishes `backend` under `prefix`. If it `removes` that from each path, it says so in X-Forwarded-Prefix.
    """
    port = free_port()
    with temporary_directory() as directory:
        config = NGINX.replace("$DIRECTORY", str(directory)).replace("$ADDRESS", f"{HOST}:{port}")
        config = config.replace("$PREFIX", prefix).replace("$TARGET", "/" if removes else "")
        config = config.replace("$HEADER", f"proxy_set_header X-Forwarded-Prefix {prefix};" if removes else "")
        path = directory / "nginx.conf"
        path.write_text(config.replace("$BACKEND", f"{HOST}:{backend.port}"))
        argv: list[str | Path] = [program("nginx"), "-e", "stderr", "-p", directory, "-c", path]
        url = f"http://{HOST}:{port}"
        ready = functools.partial(http_answers, path=f"{prefix}/health/live", status=200)
        server = Server(argv, port=port, url=url, directory=directory, ready=ready)
        try:
            yield server.start()
        finally:
            server.kill()
