"""A redis-server for tests: over TCP, TLS or a Unix socket, with or without a user of its own."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from state.redis.connect import place
from tests.support.processes import HOST, Server, free_port, program, temporary_directory
from tests.support.waiting import PATIENCE_SECONDS

__all__ = ["RedisServer", "certificate", "make_redis", "redis_answers", "redis_server", "without_place"]


class RedisServer(Server):
    """A redis-server (or sentinel) that can be asked directly, besides whatever the test does through the service."""

    def client(self, **options: Any) -> "redis.Redis":
        """A synchronous client of this very server; the caller closes it (`with server.client() as client`)."""
        client: redis.Redis = redis.Redis.from_url(self.url, **{"socket_timeout": PATIENCE_SECONDS, **options})
        return client

    def command(self, *words: str | bytes | float) -> Any:
        """Run one command and return its reply, with `str` for `bytes`."""
        with self.client(decode_responses=True) as client:
            return client.execute_command(*words)

    def info(self) -> dict[str, str]:
        """All fields of INFO as text (sentinels and servers alike)."""
        with self.client(decode_responses=True) as client:
            return {name: str(value) for name, value in client.info().items()}


def redis_answers(server: Server) -> bool:
    assert isinstance(server, RedisServer)
    try:
        return bool(server.command("PING"))
    except redis.AuthenticationError:
        return True  # it asks for a password we were told not to know: it is up
    except redis.BusyLoadingError:
        return False


def make_redis(directory: Path, port: int, url: str, args: Sequence[str], config: str | None = None) -> RedisServer:
    """A redis-server without persistence unless `args` ask for it: arguments given later win.

    `config` is written to a file that the server may rewrite, as sentinels make it do; it survives a restart.
    """
    directory.mkdir(exist_ok=True)
    argv: list[str | Path] = [program("redis-server")]
    if config is not None:
        path = directory / "redis.conf"
        path.write_text(config)
        argv.append(path)
    argv += ["--bind", HOST, "--dir", directory, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
    if "--port" not in args:
        argv += ["--port", str(port)]
    return RedisServer([*argv, *args], port=port, url=url, directory=directory, ready=redis_answers)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and localhost, and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = [
        program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@contextmanager
def redis_server(
    *args: str,
    host: str = HOST,
    port: int | None = None,
    unix: bool = False,
    tls: bool = False,
    user: tuple[str, str, str] | None = None,
) -> Iterator[RedisServer]:
    """A redis-server with the command-line arguments `args` ("--maxmemory", "1mb"), without persistence by default.

    `unix`: on a socket file, no port. `tls`: TLS only. `user`: (name, password, ACL rules), and then others cannot come
    in without them. `url` says how to reach it in each case.
    """
    port = port or free_port()
    with temporary_directory() as directory:
        words = ["--bind", host, *args]
        who = ""
        if user is not None:
            name, password, rules = user
            words += ["--user", "default", "off", "--user", name, "on", f">{password}", *rules.split()]
            who = f"{quote(name, safe='')}:{quote(password, safe='')}@"
        url = f"redis://{who}{f'[{host}]' if ':' in host else host}:{port}/0"
        if unix:
            path = directory / "redis.sock"
            words += ["--port", "0", "--unixsocket", str(path)]
            url = f"unix://{who}{path}?db=0"
        if tls:
            cert, key = certificate(directory)
            words += ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            words += ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
            url = f"rediss://{who}{HOST}:{port}/0?ssl_ca_certs={cert}"
        server = make_redis(directory, port, url, words)
        try:
            yield server.start()
        finally:
            server.kill()


def without_place(said: str, url: str) -> str:
    """What a command wrote to stderr, less the line that names its Redis, which must be there once."""
    before, line, after = said.partition(f"Redis: {place(url)}\n")
    assert line
    assert "Redis: " not in before + after
    return before + after
