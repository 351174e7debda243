"""What the chart says, run as processes: its Redis, its service with its environment, its probes, its test."""

import base64
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.servers import RedisServer, Server, free_port, program, until
from tests.test_chart import Manifest, one, pods, render

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
        config = {"PORT": self.port, "HOST": "127.0.0.1"} | values.pop("config", {})
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
        container = self.container("serving")
        environ = environment(self.manifests, container)
        assert REDIS_HOST in environ["REDIS_URL"]
        environ["REDIS_URL"] = environ["REDIS_URL"].replace(REDIS_HOST, f"127.0.0.1:{redis_port}")
        self.service = Server(
            [sys.executable, *container["command"][1:]],
            port=self.port,
            url=self.url,
            directory=self._folder("serving"),
            ready=lambda _: self.probe("serving", "startupProbe"),
            environ=system | environ | {"PYTHONUNBUFFERED": "1"},
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
                run = subprocess.run(
                    words, env=environ, capture_output=True, check=False, timeout=found["timeoutSeconds"]
                )
            except subprocess.TimeoutExpired:
                return False
            return run.returncode == 0
        ports = {port["name"]: port["containerPort"] for port in self.container(component)["ports"]}
        where = f"http://127.0.0.1:{ports[found['httpGet']['port']]}{found['httpGet']['path']}"
        try:
            return 200 <= httpx.get(where, timeout=found["timeoutSeconds"]).status_code < 400
        except httpx.TransportError:
            return False

    def helm_test(self) -> "subprocess.CompletedProcess[str]":
        """What the pod of `helm test` does."""
        container = self.container("test")
        environ = environment(self.manifests, container)
        assert environ == {"SERVICE_URL": "http://oo-serving:80"}
        words = [sys.executable, *container["command"][1:], *container["args"]]
        return subprocess.run(words, env={"SERVICE_URL": self.url}, capture_output=True, text=True, check=False)

    def score(self, user: str = "u") -> httpx.Response:
        body: dict[str, Any] = {"user_id": user, "candidates": [{"id": "a", "content": "a", "source": "test"}]}
        return httpx.post(f"{self.url}/score", json=body, timeout=30)


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
        assert found.probe("redis", "startupProbe")
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

        run = found.helm_test()
        assert (run.returncode, run.stderr) == (0, "")
        assert "read it back" in run.stdout
        with found.redis.client() as client:
            assert client.keys("*helm-test*:linucb-v1") == [], "the test leaves no user behind"
        assert found.score().status_code == 200

        found.redis.kill()
        until(lambda: not found.probe("serving", "readinessProbe"), "not ready")
        assert found.probe("serving", "livenessProbe")
        assert found.score().status_code == 503
        assert found.helm_test().returncode == 1

        pid = found.service.pid
        found.redis.start()
        until(lambda: found.probe("serving", "readinessProbe"), "ready again")
        assert found.service.running
        assert found.service.pid == pid
        assert httpx.get(f"{found.url}/stats/u").json()["pulls"] == 1


def test_frozen_redis_is_noticed() -> None:
    """A Redis that hangs fails its own probes and the service's readiness within their time-outs."""
    with release() as found:
        until(lambda: found.probe("serving", "readinessProbe"), "ready")
        found.redis.pause()
        assert not found.probe("redis", "readinessProbe")
        assert not found.probe("serving", "readinessProbe")
        assert found.probe("serving", "livenessProbe")
        found.redis.resume()
        until(lambda: found.probe("serving", "readinessProbe"), "ready again")


@pytest.mark.parametrize("workers", [1, 2])
def test_termination_loses_no_request(workers: int) -> None:
    """On SIGTERM readiness fails while requests are still served, the one in hand is finished, and the process ends
    well within the grace period."""
    with release({"config": {"WORKERS": workers}}) as found:
        until(lambda: found.probe("serving", "readinessProbe"), "ready")
        found.redis.pause()
        answers: list[int] = []
        request = threading.Thread(target=lambda: answers.append(found.score("slow").status_code))
        request.start()
        os.kill(found.service.pid, signal.SIGTERM)
        found.redis.resume()
        until(lambda: not found.probe("serving", "readinessProbe"), "not ready")
        assert found.score("late").status_code == 200
        request.join()
        assert answers == [200]
        grace = found.pods["serving"]["terminationGracePeriodSeconds"]
        sleep = found.container("serving")["lifecycle"]["preStop"]["sleep"]["seconds"]
        # uvicorn hands the signal on to the system once it has shut down.
        assert found.service.wait(grace - sleep) in (0, -signal.SIGTERM)
        assert not found.probe("serving", "livenessProbe")
