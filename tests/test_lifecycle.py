"""Start, probes and stop of the real process: what a load balancer, an operator and a supervisor see of them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from app.settings import Settings
from tests.bodies import reward, score
from tests.faults import Proxy
from tests.servers import ROOT, RedisServer, Server, redis_server, service, until, until_async
from tests.standin import Asked, stand_in

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be frozen."""
    with redis_server() as server:
        yield server
        server.resume()


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", timeout=60)


def status(server: Server, path: str) -> int:
    return get(server, path).status_code


def until_ready(server: Server) -> None:
    """A probe waits half a second for Redis, so on a busy machine one may fail."""
    until(lambda: status(server, "/health/ready") == 200, "ready")


def until_it_stops(server: Server) -> None:
    """Until a SIGTERM was taken and is announced."""
    until(lambda: get(server, "/health/ready").json() == {"detail": "stopping"}, "not ready")


# Probes


def test_probes_while_redis_is_frozen(store: RedisServer) -> None:
    """A Redis that says nothing makes the service not ready, long before the store's time-out, and `/health` says why;
    it stays alive, and is ready again when Redis goes on."""
    with service({"REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "3600"}) as served:
        until_ready(served)
        store.pause()
        assert status(served, "/health/ready") == 503
        assert status(served, "/health/live") == 200
        answer = get(served, "/health")
        assert answer.status_code == 503
        health = answer.json()
        assert (health["ok"], health["store"]) == (
            False,
            {"ok": False, "milliseconds": None, "problem": "Redis did not answer in time"},
        )
        store.resume()
        until_ready(served)
        until(lambda: get(served, "/health").json()["ok"] is True, "well again")


def test_probes_without_redis(store: RedisServer) -> None:
    """Without a Redis the service starts, is alive and not ready; it becomes ready when one comes, and no restart is
    needed."""
    store.kill()
    with service({"REDIS_URL": store.url}) as served:
        assert [status(served, f"/health{path}") for path in ("/live", "/ready", "")] == [200, 503, 503]
        store.start()
        until_ready(served)


# Stop


def test_sigterm_is_announced_before_the_stop(store: RedisServer) -> None:
    """After SIGTERM `/health/ready` answers 503 while requests are still served, so that a load balancer can turn
    away."""
    with service({"REDIS_URL": store.url, "DRAIN_SECONDS": "300", "STORE_TIMEOUT_SECONDS": "60"}) as served:
        os.kill(served.pid, signal.SIGTERM)
        until_it_stops(served)
        assert status(served, "/health/ready") == 503

        def well() -> bool:
            health = get(served, "/health")
            assert health.json()["draining"] is True
            return health.status_code == 200

        until(well, "well")
        answer = httpx.post(f"{served.url}/score", json=score(), timeout=60)
        # Who keeps connections is told to make new ones, elsewhere.
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_sigterm_stops_after_the_announcement(store: RedisServer) -> None:
    """After DRAIN_SECONDS the service stops by itself, and that is a success."""
    with service({"REDIS_URL": store.url, "DRAIN_SECONDS": "1"}) as served:
        os.kill(served.pid, signal.SIGTERM)
        assert served.wait() == 0


async def test_requests_in_hand_are_finished(store: RedisServer) -> None:
    """A reward whose EXEC is on its way when the stop comes is answered, and it is in Redis."""
    with (
        Proxy(store.port) as proxy,
        service({"REDIS_URL": proxy.url, "STORE_TIMEOUT_SECONDS": "600", "SHUTDOWN_SECONDS": "600"}) as served,
    ):
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            proxy.hold_exec()
            asked = asyncio.create_task(client.post("/reward", json=reward("ann")))
            await until_async(lambda: asyncio.sleep(0, proxy.held), "the EXEC held")
            os.kill(served.pid, signal.SIGTERM)
            await until_async(lambda: asyncio.sleep(0, "Shutting down" in served.log), "the stop begun")
            assert not asked.done()
            proxy.release()
            answer = await asked
        assert answer.status_code == 200
        assert served.wait() == 0
    assert store.command("EXISTS", "oo:{ann}:linucb-v1") == 1


async def test_a_stop_with_redis_away(store: RedisServer) -> None:
    """With Redis frozen a request in hand is answered 503 in its time, and then the service stops."""
    with Proxy(store.port) as proxy, service({"REDIS_URL": proxy.url}) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            proxy.hold_exec()
            asked = asyncio.create_task(client.post("/reward", json=reward()))
            await until_async(lambda: asyncio.sleep(0, proxy.held), "the EXEC held")
            store.pause()
            os.kill(served.pid, signal.SIGTERM)
            assert (await asked).status_code == 503
        assert served.wait() == 0


async def test_what_a_stop_cuts_off(store: RedisServer) -> None:
    """A request that is not done within SHUTDOWN_SECONDS is answered as any other that may be repeated."""

    async def never(_: Asked) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with stand_in(never) as model, httpx.AsyncClient(timeout=60) as client:
        settings = {"LITELLM_URL": model.url, "LITELLM_MASTER_KEY": "k", "SHUTDOWN_SECONDS": "1"}
        with service({"REDIS_URL": store.url, **settings}) as served:
            asked = asyncio.create_task(client.post(f"{served.url}/generate", json={"user_id": "ann"}))
            await until_async(lambda: asyncio.sleep(0, model.asked), "the model asked")
            os.kill(served.pid, signal.SIGTERM)
            answer = await asked
            assert (answer.status_code, answer.json()) == (503, {"detail": "the service stops"})
            assert answer.headers["retry-after"] == "1"
            assert await asyncio.to_thread(served.wait) == 0
        assert "Traceback" not in served.log


def test_second_sigterm_skips_the_announcement(store: RedisServer) -> None:
    """Who cannot wait for DRAIN_SECONDS sends SIGTERM once more."""
    with service({"REDIS_URL": store.url, "DRAIN_SECONDS": "300"}) as served:
        os.kill(served.pid, signal.SIGTERM)
        until_it_stops(served)
        os.kill(served.pid, signal.SIGTERM)
        assert served.wait() == 0


def test_sigint_stops_without_announcement(store: RedisServer) -> None:
    """Ctrl-C at a terminal waits for no load balancer, and leaves no traceback."""
    with service({"REDIS_URL": store.url, "DRAIN_SECONDS": "300"}) as served:
        os.kill(served.pid, signal.SIGINT)
        assert served.wait() == 0
        assert "Traceback" not in served.log


# Several processes


def workers(server: Server) -> set[int]:
    """The processes that serve, children of the one that was started."""
    listing = subprocess.run(
        ["ps", "-Aww", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    return {int(row[0]) for row in rows if row[1] == str(server.pid) and "spawn_main" in row[2]}


def replica(server: Server) -> str:
    """The name of the process that answers, of which each request's id begins."""
    return get(server, "/health/live").headers["x-request-id"].split("-")[0]


def test_workers(store: RedisServer) -> None:
    """With WORKERS=2 two processes serve one port; one that is killed is replaced, and SIGTERM ends all of them."""
    with service({"REDIS_URL": store.url, "WORKERS": "2"}) as served:
        seen: set[str] = set()

        def see(count: int) -> bool:
            seen.add(replica(served))
            return len(seen) == count

        until(lambda: see(2), "two processes answer")
        one, _ = before = workers(served)
        os.kill(one, signal.SIGKILL)
        until(lambda: len(workers(served) - before) == 1, "a new process")
        until(lambda: see(3), "the new process answers")
        last = workers(served)
        os.kill(served.pid, signal.SIGTERM)
        assert served.wait() == 0
        assert not any(is_running(pid) for pid in last)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Refusals at the start


def test_memory_is_of_one_process() -> None:
    """State in one process's memory and two processes do not go together: one line, exit code 2."""
    names = {name.upper() for name in Settings.__struct_fields__}
    environ = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env={**environ, "WORKERS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("REDIS_URL: memory:// is one process's alone")
    assert len(done.stderr.splitlines()) == 1
