"""What the chart says, run as processes: its Redis, its service with its environment, its probes, its test."""

import base64
import csv
import functools
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from app.http.api_keys import ROLES, make_key
from tests.chart.rendering import Manifest, one, pods, render
from tests.support.processes import ROOT, Server, free_port, program
from tests.support.proxies import haproxy
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.scrape import Scrape
from tests.support.waiting import PATIENCE_SECONDS, until

REDIS_HOST = "oo-serving-redis:6379"


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    """The variables Kubernetes gives a container: from ConfigMaps, then `env` with `$(NAME)` put in."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= one(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            wanted = entry["valueFrom"]["secretKeyRef"]
            secret = one(manifests, "Secret", wanted["name"])
            text = secret.get("stringData", {}).get(wanted["key"])
            found[entry["name"]] = text or base64.b64decode(secret["data"][wanted["key"]]).decode()
        else:
            found[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], entry["value"])
    return found


class Release:
    """A rendered release whose containers run as processes on ports of the test's own."""

    def __init__(self, directory: Path, values: Manifest) -> None:
        self.port, redis_port = free_port(), free_port()
        config = {"PORT": self.port} | values.pop("config", {})
        self.manifests = render({"config": config, **values})
        self.pods = {name: pod["spec"] for name, pod in pods(self.manifests)}
        self.url = f"http://127.0.0.1:{self.port}"
        system = {"PATH": os.environ["PATH"]}

        self.directory = directory
        (directory / "data").mkdir()
        container = self.container("redis")
        conf = one(self.manifests, "ConfigMap", "-redis")["data"]["redis.conf"]
        conf = conf.replace("dir /data", f"dir {directory / 'data'}").replace("port 6379", f"port {redis_port}")
        (directory / "redis.conf").write_text(f"{conf}bind 127.0.0.1\n")
        script = container["args"][0].replace("/etc/redis/redis.conf", str(directory / "redis.conf"))
        self.redis = RedisServer(
            [*container["command"], script.replace("redis-server", program("redis-server"))],
            port=redis_port,
            url=f"redis://:{environment(self.manifests, container)['REDISCLI_AUTH']}@127.0.0.1:{redis_port}/0",
            directory=self._folder("redis"),
            ready=lambda _: self.probe("redis", "readinessProbe"),
            environ=system | environment(self.manifests, container),
        )
        self.service = self.serving(self.port, "startupProbe")

    def serving(self, port: int, probe: str) -> Server:
        """A process of the service as a pod would run it; it counts as started once `probe` succeeds."""
        container = self.container("serving")
        environ = environment(self.manifests, container)
        assert REDIS_HOST in environ["REDIS_URL"]
        environ["REDIS_URL"] = environ["REDIS_URL"].replace(REDIS_HOST, f"127.0.0.1:{self.redis.port}")
        # No request may fail because the machine is busy.
        here = {"HOST": "127.0.0.1", "PORT": str(port), "STORE_TIMEOUT_SECONDS": str(PATIENCE_SECONDS)}
        return Server(
            [sys.executable, *container["command"][1:]],
            port=port,
            url=f"http://127.0.0.1:{port}",
            directory=self._folder(f"serving-{port}"),
            ready=lambda server: self.ask(server.port, probe),
            environ={"PATH": os.environ["PATH"], **environ, **here, "PYTHONUNBUFFERED": "1"},
        )

    def _folder(self, name: str) -> Path:
        folder = self.directory / name
        folder.mkdir()
        return folder

    def container(self, component: str) -> Manifest:
        found: Manifest = self.pods[component]["containers"][0]
        return found

    def probe(self, component: str, name: str) -> bool:
        """Whether a probe of the chart succeeds now, as the kubelet would judge it."""
        found = self.container(component)[name]
        if "exec" in found:
            words = [program("redis-cli"), "-p", str(self.redis.port), *found["exec"]["command"][1:]]
            environ = os.environ | environment(self.manifests, self.container(component))
            try:
                done = subprocess.run(
                    words, env=environ, capture_output=True, check=False, timeout=found["timeoutSeconds"]
                )
            except subprocess.TimeoutExpired:
                return False
            return done.returncode == 0
        return self.ask(self.port, name)

    def ask(self, port: int, name: str) -> bool:
        """Whether a probe of the service succeeds for the process on `port`."""
        found = self.container("serving")[name]
        (named,) = self.container("serving")["ports"]
        assert (found["httpGet"]["port"], self.port) == (named["name"], named["containerPort"])
        try:
            where = f"http://127.0.0.1:{port}{found['httpGet']['path']}"
            return 200 <= httpx.get(where, timeout=found["timeoutSeconds"]).status_code < 400
        except httpx.TransportError:
            return False

    def helm_test(self) -> "subprocess.CompletedProcess[str]":
        """What the pod of `helm test` does."""
        container = self.container("test")
        environ = environment(self.manifests, container)
        assert environ["SERVICE_URL"] == "http://oo-serving:80"
        words = [sys.executable, *container["command"][1:], *container["args"]]
        environ["SERVICE_URL"] = self.url
        # A proxy for the world outside, as a namespace may put it into every pod; the service is not there.
        environ["http_proxy"] = "http://127.0.0.1:9"
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=False)

    def score(self, user: str = "u") -> httpx.Response:
        body: dict[str, Any] = {"user_id": user, "candidates": [{"id": "a", "content": "a", "source": "test"}]}
        return httpx.post(f"{self.url}/score", json=body, timeout=2 * PATIENCE_SECONDS)

    def stats(self, user: str = "u") -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/stats/{user}", timeout=PATIENCE_SECONDS).json()
        return found


@contextmanager
def release(values: Manifest | None = None) -> Iterator[Release]:
    with tempfile.TemporaryDirectory(prefix="oo-", ignore_cleanup_errors=True) as name:
        found = Release(Path(name), values or {})
        try:
            found.redis.start()
            found.service.start()
            yield found
        finally:
            found.service.kill()
            found.redis.kill()


def test_default_install_works_and_survives_its_redis() -> None:
    """The default values give a service that passes `helm test`. Without Redis it is alive but not ready, and ready
    again by itself with all its state once Redis is back, even from a crash."""
    with release() as found:
        until(lambda: found.probe("serving", "readinessProbe"), "ready")
        until(lambda: found.probe("redis", "startupProbe"), "Redis started")
        with found.redis.client(decode_responses=True) as client:
            wanted = {
                "appendonly": "yes",
                "hash-max-listpack-value": "2048",
                "maxmemory": "536870912",
                "maxmemory-policy": "noeviction",
            }
            assert {name: client.config_get(name)[name] for name in wanted} == wanted
        with redis.Redis(port=found.redis.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        password = environment(found.manifests, found.container("redis"))["REDISCLI_AUTH"]
        shown = Path(f"/proc/{found.redis.pid}/cmdline")
        assert not shown.exists() or password not in shown.read_text(), "the list of processes shows the password"

        done = found.helm_test()
        assert (done.returncode, done.stderr) == (0, "")
        assert "read it back" in done.stdout
        with found.redis.client() as client:
            assert list(client.scan_iter("*helm-test*:linucb-v1")) == [], "the test leaves no user behind"
        assert found.score().status_code == 200

        # With everysec a reply may come before its line is in the file, while the one before is synced to the disk.
        until(lambda: found.redis.info()["aof_buffer_length"] == "0", "the append-only file written")
        found.redis.kill()
        until(lambda: not found.probe("serving", "readinessProbe"), "not ready")
        until(lambda: found.probe("serving", "livenessProbe"), "alive without Redis")
        assert found.score().status_code == 503
        assert found.helm_test().returncode == 1

        pid = found.service.pid
        found.redis.start()
        until(lambda: found.probe("serving", "readinessProbe"), "ready again")
        assert found.service.running
        assert found.service.pid == pid
        assert found.stats()["pulls"] == 1


def test_helm_test_has_a_key_for_each_role() -> None:
    """With API keys `helm test` takes those of a Secret; without them it fails with what the service answered."""
    made = {role: make_key(role, role) for role in ROLES}
    keys = {role: key for role, (key, _) in made.items()}
    values: Manifest = {
        "secrets": {"API_KEYS": {"value": "\n".join(line for _, line in made.values())}},
        "tests": {"existingSecret": "test-keys"},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "test-keys"}, "stringData": keys},
        ],
    }
    with release(values) as found:
        done = found.helm_test()
        assert (done.returncode, done.stderr) == (0, "")
        (secret,) = [item for item in found.manifests if item["metadata"]["name"] == "test-keys"]
        secret["stringData"]["client"] = "another"
        done = found.helm_test()
        assert (done.returncode, done.stderr.partition("{")[0]) == (1, "POST /score: 401 ")
        assert "POST /reset" not in done.stderr
        secret["stringData"]["admin"] = "another"
        done = found.helm_test()
        said = [line.partition("{")[0] for line in done.stderr.splitlines()]
        assert (done.returncode, said[0]) == (1, "POST /score: 401 "), "the first failure is not hidden by the second"
        assert re.fullmatch(r"POST /reset/helm-test-\S+: 401 ", said[1])


def test_redis_that_reads_its_file_back_is_left_to_it() -> None:
    """A Redis that answers LOADING has started and is alive, so it is not restarted; it is only not ready."""
    slowly = "key-load-delay 10000\nloading-process-events-interval-bytes 1024"
    with release({"redis": {"extraConfig": slowly}}) as found:
        with found.redis.client() as client:
            # So many that it takes minutes, and the probes never come too late.
            client.mset({f"key-{number}": bytes(range(200)) for number in range(20_000)})
            client.bgrewriteaof()  # a key for each of them in the file, where MSET is a single line
        until(lambda: int(found.redis.info()["aof_base_size"]) > 2_000_000, "the file rewritten")
        found.redis.stop()
        password = environment(found.manifests, found.container("redis"))["REDISCLI_AUTH"]
        ask = [program("redis-cli"), "-p", str(found.redis.port), "ping"]

        def loading(_: Server) -> bool:
            return (
                b"LOADING"
                in subprocess.run(ask, env={"REDISCLI_AUTH": password}, capture_output=True, check=False).stdout
            )

        found.redis._ready = loading
        found.redis.start()
        until(lambda: found.probe("redis", "startupProbe"), "started though it is loading")
        until(lambda: found.probe("redis", "livenessProbe"), "alive though it is loading")
        assert not found.probe("redis", "readinessProbe")
        assert loading(found.redis), "it was loading all the while"
        with found.redis.client() as client:
            client.config_set("key-load-delay", 0)
        until(lambda: found.probe("redis", "readinessProbe"), "the file read back")


def test_frozen_redis_is_noticed() -> None:
    """A Redis that hangs fails its own probes and the service's readiness within their time-outs."""
    with release() as found:
        until(lambda: found.probe("serving", "readinessProbe"), "ready")
        found.redis.pause()
        assert not found.probe("redis", "readinessProbe")
        assert not found.probe("serving", "readinessProbe")
        until(lambda: found.probe("serving", "livenessProbe"), "alive while Redis hangs")
        found.redis.resume()
        until(lambda: found.probe("serving", "readinessProbe"), "ready again")


# As long as a test needs: it ends the pause itself, by a second SIGTERM.
LONG_DRAIN = {"DRAIN_SECONDS": PATIENCE_SECONDS}


def stopping(server: Server) -> bool:
    """Whether the process says of itself that it stops, as it does whatever becomes of Redis."""
    answer = httpx.get(f"{server.url}/health/ready", timeout=PATIENCE_SECONDS)
    return bool(answer.status_code == 503 and answer.json() == {"detail": "stopping"})


@pytest.mark.parametrize("workers", [1, 2])
def test_termination_loses_no_request(workers: int) -> None:
    """On SIGTERM readiness fails while requests are still served, the one in hand is finished, and the process ends
    well within the grace period."""
    with release({"config": {"WORKERS": workers, **LONG_DRAIN}}) as found:
        until(lambda: found.probe("serving", "readinessProbe"), "ready")
        until(lambda: found.service.log.count("Application startup complete") == workers, "every process serves")
        found.redis.pause()
        answers: list[int] = []
        request = threading.Thread(target=lambda: answers.append(found.score("slow").status_code))
        request.start()
        until(lambda: Scrape(found.service).total("oo_http_requests_inflight") == 1, "the request in hand")
        os.kill(found.service.pid, signal.SIGTERM)
        until(lambda: stopping(found.service), "the stop begun")
        assert not found.probe("serving", "readinessProbe")
        assert answers == []
        found.redis.resume()
        assert found.score("late").status_code == 200
        request.join()
        assert answers == [200]
        found.service.send(signal.SIGTERM)
        grace = found.pods["serving"]["terminationGracePeriodSeconds"]
        sleep = found.container("serving")["lifecycle"]["preStop"]["sleep"]["seconds"]
        # uvicorn hands the signal on to the system once it has shut down.
        assert found.service.wait(grace - sleep) in (0, -signal.SIGTERM)
        assert not found.probe("serving", "livenessProbe")


BALANCER = """
global
    # One thing after the other: whom it has left it no longer sends anything.
    nbthread 1
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout check 60s
    option redispatch
frontend pods
    bind $ADDRESS
    stats enable
    stats uri /balancer
    default_backend pods
backend pods
    balance roundrobin
    option httpchk GET /health/ready
    # On a busy machine Redis may need longer than a probe gives it: the pod must not fail for that.
    http-check expect ! string stopping
    default-server check inter 200ms fall 1 rise 1
"""


def test_rolling_update_loses_no_request() -> None:
    """Two pods behind a balancer that asks for readiness, replaced one by one as the Deployment does it, under load:
    every request is answered 200."""
    with ExitStack() as stack:
        found = stack.enter_context(release({"config": LONG_DRAIN}))
        old = [found.service, found.serving(free_port(), "readinessProbe")]
        new = [found.serving(free_port(), "readinessProbe") for _ in old]
        for server in old[1:] + new:
            stack.callback(server.kill)
        old[1].start()
        until(lambda: found.probe("serving", "readinessProbe"), "ready")
        rows = [f"    server {server.port} 127.0.0.1:{server.port}\n" for server in [*old, *new]]
        balancer = stack.enter_context(haproxy(BALANCER + "".join(rows)))
        found.url = balancer.url

        def chosen() -> set[str]:
            """The ports of the pods that the balancer sends requests to."""
            table = httpx.get(f"{balancer.url}/balancer;csv", timeout=PATIENCE_SECONDS).text.removeprefix("# ")
            return {row["svname"] for row in csv.DictReader(table.splitlines()) if row["status"] == "UP"}

        until(lambda: {str(server.port) for server in old} <= chosen(), "the balancer sees the pods")
        until(lambda: not {str(server.port) for server in new} & chosen(), "the balancer sees no other pod")

        answers: list[int] = []
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                answers.append(found.score().status_code)

        clients = [threading.Thread(target=load) for _ in range(2)]
        stack.callback(done.set)
        for client in clients:
            client.start()
        for before, after in zip(old, new, strict=True):
            after.start()
            until(lambda: str(after.port) in chosen(), "the balancer sees the new pod")  # noqa: B023 (called at once)
            before.send(signal.SIGTERM)
            until(lambda: str(before.port) not in chosen(), "the balancer leaves the old pod")  # noqa: B023
            # It is answered in the order of connections, so all requests sent before have been read as well.
            assert stopping(before)
            before.send(signal.SIGTERM)
            assert before.wait() in (0, -signal.SIGTERM)
        seen = len(answers)
        until(lambda: len(answers) > seen + 20, "requests to the new pods")
        done.set()
        for client in clients:
            client.join()
        assert set(answers) == {200}
        assert found.stats()["pulls"] == len(answers)


# The documentation's own commands


def documented(part: str) -> str:
    """The one script of docs/run/kubernetes.md, run there in a pod with `sh -c`, that contains `part`."""
    scripts = re.findall(r"-- sh -c '([^']+)'", (ROOT / "docs" / "run" / "kubernetes.md").read_text())
    (found,) = [script for script in scripts if part in script]
    return str(found)


def run(script: str, environ: dict[str, str], **options: Any) -> bytes:
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": os.environ["PATH"], **environ}, capture_output=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    output: bytes = done.stdout
    return output


def content(server: RedisServer) -> dict[bytes, Any]:
    """Every key of a server with its value."""
    with server.client() as client:
        read = {b"hash": client.hgetall, b"list": lambda key: client.lrange(key, 0, -1), b"string": client.get}
        return {key: read[client.type(key)](key) for key in client.scan_iter()}


def filled(server: RedisServer) -> dict[bytes, Any]:
    """Put some users with odd ids into the server."""
    with server.client() as client:
        for user in ("u", "anna@example.org", "%C3%A9~._-:", *map(str, range(300))):
            client.hset(f"oo:{{{user}}}:linucb-v1", mapping={"A": bytes(range(200)), "b": bytes(40), "meta": b"\0\xff"})
            client.rpush(f"oo:{{{user}}}:history", '{"ts":"2026-01-01T00:00:00Z"}', "{}")
    return content(server)


def test_documented_backup_is_restored(tmp_path: Path) -> None:
    """The documented commands bring every key back as it was, and later writes to the restored Redis last."""
    auth = {"REDISCLI_AUTH": "old"}
    with redis_server("--requirepass", "old", "--dir", str(tmp_path)) as server:
        server.url = f"redis://:old@127.0.0.1:{server.port}/0"
        before = filled(server)
        script = documented("--rdb").replace("redis-cli", f"redis-cli -p {server.port}").replace("/data", str(tmp_path))
        backup = run(script, auth)
    assert not (tmp_path / "backup.rdb").exists()

    data = tmp_path / "data"
    data.mkdir()
    with redis_server("--appendonly", "yes", "--dir", str(data)) as server:
        server.command("SET", "oo:{later}:sync", "lost by the restore")
        server.stop()
        run(documented("appendonlydir").replace("/data", str(data)), {}, input=backup)
        server.start()
        assert content(server) == before
        server.command("SET", "oo:{u}:sync", "kept")
        until(lambda: server.info()["aof_buffer_length"] == "0", "the append-only file written")
        server.kill()
        server.start()
        assert server.command("GET", "oo:{u}:sync") == "kept"
        assert len(content(server)) == len(before) + 1


def rotation() -> list[list[str]]:
    """The words of each redis-cli command that rotates the password of an external Redis, in order."""
    text = (
        (ROOT / "docs" / "run" / "kubernetes.md")
        .read_text()
        .partition("two passwords at once")[2]
        .partition("Several API keys")[0]
    )
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("redis-cli ")]


def test_documented_rotation_lasts_on_every_server() -> None:
    """The documented commands bring the new password to master, replica and sentinels. Both passwords are good until
    the old one is taken away, and only the new one after that, through a failover and restarts."""
    # A restart must be over before the sentinels call it a failure, however busy the machine is.
    with redis_sentinel(down_after_ms=60_000) as group:

        def everywhere(servers: list[RedisServer], *words: str) -> None:
            for server in servers:
                assert server.command(*words) in ("OK", True)

        def password(text: str) -> None:
            for server in group.servers:
                server.url = f"redis://:{text}@127.0.0.1:{server.port}/0"

        everywhere(group.servers, "CONFIG", "SET", "masterauth", "OLD", "requirepass", "OLD")
        password("OLD")
        everywhere(group.servers, "CONFIG", "REWRITE")
        everywhere(group.sentinels, "SENTINEL", "SET", group.name, "auth-pass", "OLD")
        everywhere(group.sentinels, "SENTINEL", "SET", group.name, "failover-timeout", "20000")
        for words in rotation():
            if words == ["ACL", "SETUSER", "default", "<OLD"]:
                password("OLD")
                everywhere(group.servers, "PING")
                password("NEW")
            if words[0] == "-p":
                everywhere(group.sentinels, *words[2:])
            else:
                everywhere(group.servers, *words)

        for server in group.servers:
            server.stop()
            server.start()
        first = group.master

        def failed_over() -> bool:
            with group.sentinels[0].client() as sentinel, suppress(redis.ResponseError):  # no replica is ready yet
                sentinel.execute_command("SENTINEL", "FAILOVER", group.name)
            return group.master is not first

        def follows() -> bool:
            with suppress(redis.ConnectionError):  # a sentinel that makes a server a replica cuts its connections
                return first.info().get("master_link_status") == "up"
            return False

        def refused(server: RedisServer) -> bool:
            try:
                return not server.command("PING")
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:  # cut again, by another sentinel
                return False

        until(failed_over, "the sentinels made the replica a master")
        until(follows, "the old master follows it")
        password("OLD")
        for server in group.servers:
            until(functools.partial(refused, server), f"the old password refused by {server}")


def test_documented_move_to_sentinel_keeps_every_key() -> None:
    """The documented copy to the master of Sentinel is complete, to the byte, and can be repeated."""
    with redis_server("--requirepass", "old") as old, redis_server("--requirepass", "PASSWORD") as new:
        old.url = f"redis://:old@127.0.0.1:{old.port}/0"
        new.url = f"redis://:PASSWORD@127.0.0.1:{new.port}/0"
        before = filled(old)
        script = documented("MIGRATE").replace("redis-cli", f"redis-cli -p {old.port}")
        script = script.replace("new-redis 6379", f"127.0.0.1 {new.port}")
        for _ in range(2):
            assert run(script, {"REDISCLI_AUTH": "old"}) == b"copied\n"
        assert content(new) == before == content(old)


def test_documented_move_to_cluster_keeps_every_key() -> None:
    """The documented copy to a Cluster puts every key on its own node, to the byte, and can be repeated."""
    with redis_server("--requirepass", "old") as old, redis_cluster() as new:
        old.url = f"redis://:old@127.0.0.1:{old.port}/0"
        for server in new.servers:
            # On a busy machine a second without an answer is no failure of a node.
            server.command("CONFIG", "SET", "cluster-node-timeout", "60000")
            server.command("CONFIG", "SET", "masterauth", "PASSWORD", "requirepass", "PASSWORD")
            server.url = server.url.replace("//", "//:PASSWORD@")
        until(new.settled, "the cluster's state ok on every node")
        before = filled(old)
        script = documented("--cluster import").replace("127.0.0.1:6379", f"127.0.0.1:{old.port}")
        script = script.replace("new-redis:6379", f"127.0.0.1:{new.masters[0].port}")
        for _ in range(2):
            assert run(script, {"REDISCLI_AUTH": "old"}) == b"copied\n"
        after = {key: value for server in new.masters for key, value in content(server).items()}
        assert after == before == content(old)
        assert all(content(server) for server in new.masters)
