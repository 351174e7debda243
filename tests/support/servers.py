"""Real servers for the tests: each a child process on a free port of 127.0.0.1, ended by its own pid.

A missing program fails the test that wants it; nothing is skipped. "Ready" is always a condition that is polled
with a deadline, never a pause.
"""

import asyncio
import atexit
import ctypes
import functools
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import msgspec
import redis

from app.settings import Settings

__all__ = [
    "Cluster",
    "RedisServer",
    "Sentinels",
    "Server",
    "ServerError",
    "free_port",
    "haproxy",
    "nats_server",
    "newer_nats",
    "nginx",
    "redis_cluster",
    "redis_sentinel",
    "redis_server",
    "service",
    "until",
    "until_async",
]

ROOT = Path(__file__).parent.parent.parent
HOST = "127.0.0.1"
# Only a failing test waits so long; a busy machine must not make one fail.
PATIENCE_SECONDS = 60.0


class ServerError(RuntimeError):
    """A server is missing, did not become ready, or did not reach a state in time; the message ends with its log."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll `condition` until it is true; raise ServerError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[object]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll an awaitable `condition` until it is true; raise ServerError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise ServerError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.01)


_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, given out once per test run.

    Taken from below the range from which systems draw the ports of outgoing connections, so that no client can
    occupy it before the server does.
    """
    draw = random.SystemRandom()
    for _ in range(1_000):
        port = draw.randrange(12_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            _given.add(port)
            return port
    raise ServerError("no free port found")


def newer_nats() -> str:
    """The nats-server that is pinned among the Python packages: newer than that of the system."""
    path = Path(sys.executable).parent / "nats-server"
    if not path.exists():
        raise ServerError(f"{path} is missing: './dev setup' installs it")
    return str(path)


def program(name: str) -> str:
    """The path of an installed program; system folders that a user's PATH may lack are searched too."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/opt/homebrew/bin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise ServerError(f"{name} is not installed: './dev test' installs it")
    return found


_running: set["Server"] = set()


@atexit.register
def _end_all() -> None:
    for server in list(_running):
        server.kill()


# Linux ends the child with its parent even when the parent is killed; elsewhere atexit has to do.
_prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One child process with a port: started, stopped, killed, frozen and started again on the same port and data.

    Signals go to the process group, so they reach the workers of a server that has some.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        port: int,
        url: str,
        directory: Path,
        ready: Callable[["Server"], bool],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.port = port
        self.url = url
        self.directory = directory
        self._ready = ready
        self._environ = dict(environ) if environ is not None else None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{Path(self.argv[0]).name} on {self.port}, {'running' if self.running else 'down'}>"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{self!r} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the process wrote to stdout and stderr since it was first started."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start the process and wait until it answers."""
        if self.running:
            raise ServerError(f"{self!r} is already started")
        # The kernel sends the signal when the *thread* that forked ends, so only the main thread may ask for it.
        main = threading.current_thread() is threading.main_thread()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environ,
                start_new_session=True,
                preexec_fn=_die_with_parent if main else None,  # noqa: PLW1509 (no other way to ask for it)
            )
        _running.add(self)
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the server answers; raise ServerError with the end of its log if it ends or is too slow."""

        def answers() -> bool:
            if not self.running:
                raise ServerError(f"{self!r} ended at start:\n{self.log[-4000:]}")
            with suppress(OSError, redis.RedisError, http.client.HTTPException):
                return self._ready(self)
            return False

        try:
            until(answers, f"{self!r} ready", seconds)
        except ServerError as error:
            raise ServerError(f"{error}\n{self.log[-4000:]}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until the process has ended; its exit code (negative: the signal that ended it)."""
        if self._process is None:
            raise ServerError(f"{self!r} was not started")
        code = self._process.wait(seconds)
        _running.discard(self)
        return code

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """End it as an operator would, with SIGTERM to the one process; killed if that takes over `seconds`."""
        if self._process is None:
            return 0
        self.resume()
        if self.running:
            self._process.terminate()
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            self.send(signal.SIGKILL)  # a worker that outlived its parent

    def kill(self) -> int:
        """End it as a crash would, with SIGKILL."""
        if self._process is None:
            return 0
        self.send(signal.SIGKILL)
        return self.wait()

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing is answered."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        if self.running:
            self.send(signal.SIGCONT)


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="oo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


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


def _redis_answers(server: Server) -> bool:
    assert isinstance(server, RedisServer)
    try:
        return bool(server.command("PING"))
    except redis.AuthenticationError:
        return True  # it asks for a password we were told not to know: it is up
    except redis.BusyLoadingError:
        return False


def _redis(directory: Path, port: int, url: str, args: Sequence[str], config: str | None = None) -> RedisServer:
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
    return RedisServer([*argv, *args], port=port, url=url, directory=directory, ready=_redis_answers)


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
    *args: str, port: int | None = None, unix: bool = False, tls: bool = False, user: tuple[str, str, str] | None = None
) -> Iterator[RedisServer]:
    """A redis-server with the command-line arguments `args` ("--maxmemory", "1mb"), without persistence by default.

    `unix`: on a socket file, no port. `tls`: TLS only. `user`: (name, password, ACL rules), and then nobody may come
    in without them. `url` says how to reach it in each case.
    """
    port = port or free_port()
    with _directory() as directory:
        words = list(args)
        who = ""
        if user is not None:
            name, password, rules = user
            words += ["--user", "default", "off", "--user", name, "on", f">{password}", *rules.split()]
            who = f"{quote(name, safe='')}:{quote(password, safe='')}@"
        url = f"redis://{who}{HOST}:{port}/0"
        if unix:
            path = directory / "redis.sock"
            words += ["--port", "0", "--unixsocket", str(path)]
            url = f"unix://{who}{path}?db=0"
        if tls:
            cert, key = certificate(directory)
            words += ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            words += ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
            url = f"rediss://{who}{HOST}:{port}/0?ssl_ca_certs={cert}"
        server = _redis(directory, port, url, words)
        try:
            yield server.start()
        finally:
            server.kill()


class Sentinels(msgspec.Struct, frozen=True):
    """One master and its replicas, watched by sentinels; who is master changes when it is killed."""

    url: str
    name: str
    servers: list[RedisServer]
    sentinels: list[RedisServer]

    @property
    def master(self) -> RedisServer:
        """The server that the first sentinel now calls the master."""
        _, port = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replicas(self) -> list[RedisServer]:
        master = self.master
        return [server for server in self.servers if server is not master]

    def settled(self) -> bool:
        """Whether the master has all replicas that run in sync and every sentinel knows all the others.

        After a server came back this may take 20 s: sentinels ask for the replicas every 10 s.
        """
        others = [server for server in self.replicas if server.running]
        if any(server.info().get("master_link_status") != "up" for server in others):
            return False
        if self.master.info().get("connected_slaves") != str(len(others)):
            return False
        for sentinel in self.sentinels:
            reply = sentinel.command("SENTINEL", "MASTER", self.name)
            fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
            known = int(fields["num-other-sentinels"]), int(fields["num-slaves"])
            if known != (len(self.sentinels) - 1, len(self.servers) - 1):
                return False
        return True


@contextmanager
def redis_sentinel(*args: str, replicas: int = 1, down_after_ms: int = 500) -> Iterator[Sentinels]:
    """A master, its replicas and three sentinels with quorum 2, all in sync; `args` go to master and replicas."""
    name = "mymaster"
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        servers: list[RedisServer] = []
        for index in range(1 + replicas):
            port = free_port()
            # In the file, not an argument: a promoted replica forgets it and stays master when it is started again.
            config = f"replicaof {HOST} {servers[0].port}\n" if index else ""
            where, url = directory / f"redis-{index}", f"redis://{HOST}:{port}/0"
            server = _redis(where, port, url, ["--repl-ping-replica-period", "1", *args], config)
            stack.callback(server.kill)
            servers.append(server.start())
        sentinels: list[RedisServer] = []
        for index in range(3):
            port = free_port()
            config = (
                f"sentinel monitor {name} {HOST} {servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {name} {down_after_ms}\n"
                f"sentinel failover-timeout {name} 3000\n"
            )
            where, url = directory / f"sentinel-{index}", f"redis://{HOST}:{port}"
            where.mkdir()
            path = where / "sentinel.conf"
            path.write_text(f"port {port}\nbind {HOST}\ndir {where}\n{config}")
            argv = [program("redis-server"), str(path), "--sentinel"]
            sentinel = RedisServer(argv, port=port, url=url, directory=where, ready=_redis_answers)
            stack.callback(sentinel.kill)
            sentinels.append(sentinel.start())
        addresses = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
        group = Sentinels(f"redis+sentinel://{addresses}/{name}/0", name, servers, sentinels)
        until(group.settled, "sentinels and replicas in sync")
        yield group


class Cluster(msgspec.Struct, frozen=True):
    """A Redis Cluster: `masters[i]` had the i-th share of the slots at first, `replicas[i]` follow `masters[i % n]`."""

    url: str
    masters: list[RedisServer]
    replicas: list[RedisServer]
    ids: dict[str, RedisServer]

    @property
    def servers(self) -> list[RedisServer]:
        return list(self.ids.values())

    def slot(self, key: str) -> int:
        return int(self.masters[0].command("CLUSTER", "KEYSLOT", key))

    def owner(self, key: str) -> RedisServer:
        """The server that now serves the slot of `key`."""
        found = _owner(next(server for server in self.servers if server.running), self.slot(key))
        if not found:
            raise ServerError(f"nobody serves the slot of {key}")
        return self.ids[found]

    def move(self, key: str, target: RedisServer, seconds: float = PATIENCE_SECONDS) -> None:
        """Move the slot of `key`, in use or not, as `redis-cli --cluster reshard` does, and wait until all know."""
        source, slot = self.owner(key), self.slot(key)
        ids = {server: name for name, server in self.ids.items()}
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        while names := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", HOST, target.port, "", 0, int(PATIENCE_SECONDS * 1_000), "KEYS", *names)
        for server in (target, source):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        until(
            lambda: all(_owner(one, slot) == ids[target] for one in self.servers if one.running), "slot moved", seconds
        )

    def settled(self) -> bool:
        """Whether every server that runs calls the cluster complete and knows all of it."""
        running = [server for server in self.servers if server.running]
        return all(_cluster_state(server) == ("ok", str(len(self.servers))) for server in running)


def _cluster_nodes(server: RedisServer) -> list[list[str]]:
    return [line.split() for line in str(server.command("CLUSTER", "NODES")).splitlines()]


def _owner(asked: RedisServer, slot: int) -> str | None:
    """The id of the node that has the slot, as far as `asked` knows."""
    for line in _cluster_nodes(asked):
        if any(int(span.split("-")[0]) <= slot <= int(span.split("-")[-1]) for span in line[8:] if span[0] != "["):
            return line[0]
    return None


def _cluster_state(server: RedisServer) -> tuple[str, str]:
    fields = dict(line.split(":", 1) for line in str(server.command("CLUSTER", "INFO")).split("\r\n") if ":" in line)
    return fields["cluster_state"], fields["cluster_known_nodes"]


@contextmanager
def redis_cluster(
    *args: str, masters: int = 3, replicas: int = 0, announce: Callable[[int], int] | None = None
) -> Iterator[Cluster]:
    """A Redis Cluster with all slots assigned and its state ok; `args` go to every node.

    `replicas` is per master. `announce` is called with each node's port before it starts and returns the port that
    clients are told instead: that of a proxy in front of it (the URL then names the proxies too).
    """
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        servers: list[RedisServer] = []
        announced: list[int] = []
        buses: list[int] = []
        for index in range(masters * (1 + replicas)):
            port, bus = free_port(), free_port()
            announced.append(announce(port) if announce else port)
            buses.append(bus)
            words = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"]
            words += ["--cluster-announce-port", str(announced[-1]), "--cluster-announce-bus-port", str(bus)]
            words += ["--cluster-replica-validity-factor", "0", "--repl-ping-replica-period", "1"]
            server = _redis(directory / f"node-{index}", port, f"redis://{HOST}:{port}", [*words, *args])
            stack.callback(server.kill)
            servers.append(server.start())
        first, *others = servers
        bounds = [16_384 * index // masters for index in range(masters + 1)]
        for index, server in enumerate(servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < masters:
                server.command("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        for server, bus in zip(others, buses[1:], strict=True):
            first.command("CLUSTER", "MEET", HOST, server.port, bus)
        group = Cluster(
            "redis+cluster://" + ",".join(f"{HOST}:{port}" for port in announced[:masters]),
            servers[:masters],
            servers[masters:],
            {str(server.command("CLUSTER", "MYID")): server for server in servers},
        )
        until(group.settled, "the cluster's state ok on every node")
        ids = list(group.ids)
        for index, server in enumerate(group.replicas):
            server.command("CLUSTER", "REPLICATE", ids[index % masters])
        until(
            lambda: all(server.info().get("master_link_status") == "up" for server in group.replicas),
            "the cluster's replicas in sync",
        )
        yield group


@contextmanager
def nats_server(
    *args: str | Path, jetstream: bool = True, port: int | None = None, binary: str | None = None
) -> Iterator[Server]:
    """A nats-server, by default with JetStream, whose streams survive `restart()`; `binary` is another than PATH's."""
    port = port or free_port()
    with _directory() as directory:
        words = ["-js", "-sd", str(directory / "jetstream")] if jetstream else []
        argv = [binary or program("nats-server"), "-a", HOST, "-p", str(port), *words, *args]

        def greets(server: Server) -> bool:
            with socket.create_connection((HOST, server.port), 1) as connection:
                return connection.recv(4096).startswith(b"INFO ")

        server = Server(argv, port=port, url=f"nats://{HOST}:{port}", directory=directory, ready=greets)
        try:
            yield server.start()
        finally:
            server.kill()


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
    with _directory() as directory:
        path = directory / "haproxy.cfg"
        path.write_text(config.replace("$ADDRESS", f"{HOST}:{port}"))
        argv = [program("haproxy"), "-db", "-f", str(path)]
        url = f"http://{HOST}:{port}"
        server = Server(argv, port=port, url=url, directory=directory, ready=functools.partial(_http_answers, path="/"))
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
        location / {
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }
    }
}
"""


@contextmanager
def nginx(backend: Server) -> Iterator[Server]:
    """An nginx before `backend`, which keeps its connections to it and passes on offers to upgrade."""
    port = free_port()
    with _directory() as directory:
        config = NGINX.replace("$DIRECTORY", str(directory)).replace("$ADDRESS", f"{HOST}:{port}")
        path = directory / "nginx.conf"
        path.write_text(config.replace("$BACKEND", f"{HOST}:{backend.port}"))
        argv: list[str | Path] = [program("nginx"), "-e", "stderr", "-p", directory, "-c", path]
        url = f"http://{HOST}:{port}"
        ready = functools.partial(_http_answers, path="/health/live", status=200)
        server = Server(argv, port=port, url=url, directory=directory, ready=ready)
        try:
            yield server.start()
        finally:
            server.kill()


def _http_answers(server: Server, path: str, status: int | None = None) -> bool:
    """Whether a GET of `path` is answered (with `status`, if one is given)."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
    try:
        connection.request("GET", path)
        return status in (None, connection.getresponse().status)
    finally:
        connection.close()


@contextmanager
def service(
    env: Mapping[str, str] | None = None, *, port: int | None = None, ready: str = "/health/live"
) -> Iterator[Server]:
    """The service itself, `python -m app`, with the settings `env` and no others, once `ready` answers 200.

    It stops without the pause that a load balancer wants, unless `env` has one. Its stdout and stderr are `.log`.
    Ended with SIGTERM.
    """
    port = port or free_port()
    settings = {name.upper() for name in Settings.__struct_fields__}
    environ = {name: value for name, value in os.environ.items() if name not in settings}
    environ |= {"PORT": str(port), "PYTHONUNBUFFERED": "1", "DRAIN_SECONDS": "0", **(env or {})}
    with _directory() as directory:
        answers = functools.partial(_http_answers, path=ready, status=200)
        argv = [sys.executable, "-m", "app"]
        url = f"http://{HOST}:{port}"
        server = Server(argv, port=port, url=url, directory=directory, ready=answers, environ=environ)
        try:
            yield server.start()
        finally:
            server.stop()
