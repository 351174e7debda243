"""Where the service listens, and what it says when it cannot."""

import os
import re
import subprocess
import sys

import httpx
import pytest

from tests.support.processes import ROOT, free_port
from tests.support.redis_servers import RedisServer
from tests.support.service import service


@pytest.mark.parametrize("host", ["not a host", "256.1.1.1", "8.8.8.8", "x" * 70])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_host_of_another_machine_is_one_line(host: str, workers: str) -> None:
    """A service that cannot listen at HOST says so before it does anything else."""
    done = start(HOST=host, PORT=str(free_port()), WORKERS=workers, REDIS_URL="redis://127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    said = f"HOST and PORT: take an address of this machine and a free port, not {host!r} and "
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_one_line(workers: str, store: RedisServer) -> None:
    """So it is with a PORT on which another process listens."""
    done = start(PORT=str(store.port), WORKERS=workers, REDIS_URL=store.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "HOST and PORT: take an address of this machine and a free port, "
        f"not '127.0.0.1' and {store.port} (Address already in use)\n"
    )


def start(**environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app"]
    env = {**os.environ, **environ}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_host_may_be_a_name(workers: str, store: RedisServer) -> None:
    """The service listens wherever its name leads; its end leaves nothing open."""
    environ = {"HOST": "localhost", "WORKERS": workers, "REDIS_URL": store.url, "PYTHONWARNINGS": "always"}
    with service(environ) as server:
        assert server.stop() == 0
        assert re.search(rf"serv(e|ing) on http://localhost:{server.port}", server.log)
        assert "unclosed <socket" not in server.log


def test_a_careless_environment_serves(store: RedisServer) -> None:
    """The service starts with it, and reaches its Redis."""
    with service(
        {"REDIS_URL": f" {store.url}\n", "LOG_LEVEL": "INFO\n", "LITELLM_URL": "http://localhost:4000\n"}
    ) as server:
        assert httpx.get(f"{server.url}/health", timeout=60).json()["store"]["ok"]
