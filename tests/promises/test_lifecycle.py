"""Start, probes and stop of the real process: what a load balancer, an operator and a supervisor see of them."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.support.bodies import reward, score
from tests.support.faults import Proxy
from tests.support.processes import ROOT, Server, free_port, program
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.standin import Asked, stand_in
from tests.support.waiting import PATIENCE_SECONDS, ServerError, until, until_async

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


def test_probes_while_redis_refuses_writes(store: RedisServer) -> None:
    """`/health` says so, before any request has failed. A full Redis can be read, and no replica of the service could
    write, so requests may come; a replica of Redis is the wrong server. The log says what it is."""
    with service({"REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "30"}) as served, redis_server() as master:
        until_ready(served)

        def told(path: str, detail: str | None) -> None:
            until(lambda: get(served, path).json().get("detail") == detail, f"{path}: {detail}")

        for setting, problem in (("maxmemory", "OutOfMemoryError"), ("min-replicas-to-write", "ResponseError")):
            store.command("CONFIG", "SET", setting, "1")
            told("/health", f"Redis refuses: {problem}")
            told("/health/ready", None)
            assert status(served, "/health/live") == status(served, "/stats/ann") == 200
            store.command("CONFIG", "SET", setting, "0")
            told("/health", None)
        store.command("REPLICAOF", "127.0.0.1", master.port)
        for path in ("/health", "/health/ready"):
            told(path, "Redis refuses: ReadOnlyError")
        assert status(served, "/health/live") == 200
        store.command("REPLICAOF", "NO", "ONE")
        until_ready(served)
        assert store.command("KEYS", "oo:nothing") == []
        assert "its memory is full): requests are answered 503" in served.log


# A stop that comes before the start is over


# What can be seen of a process that starts, from the first moment in which it can take a signal on. Each package holds
# a library of its own, and a mapped file stays mapped. Elsewhere than on Linux only the log can be seen.
SEEN = sys.platform == "linux"
IMPORTS = ["handler", "httptools", "msgspec", "numpy"] if SEEN else []
POINTS = [*IMPORTS, *(["hiredis", "uvloop"] if SEEN else []), "Started server process", "serving on"]
CHILDREN = ["child", "child numpy"] if SEEN else []
WORKERS_POINTS = [*IMPORTS, "Started parent process", *CHILDREN, "Started server process"]


def namespace() -> list[str]:
    """What makes a process the first of its own PID namespace; on a system that has none, nothing.

    The kernel drops a signal to such a process for which it has no handler.
    """
    if sys.platform != "linux":
        return []
    said = []
    for rights in ([], ["--user", "--map-root-user"]):
        words = [program("unshare"), *rights, "--pid", "--fork", "--kill-child"]
        done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return words
        said.append(done.stderr.strip())
    raise ServerError(f"this system allows no PID namespace, neither as root nor as a user: {said}")


def children(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    return [int(row.split()[0]) for row in listing.splitlines() if row.split()[1] == str(pid)]


class Starting:
    """The service as a process that starts, alone in its session; `pid` is of the service itself."""

    def __init__(self, directory: Path, around: list[str], *words: str, **environ: str) -> None:
        names = {name.upper() for name in Settings.__struct_fields__}
        kept = {name: value for name, value in os.environ.items() if name not in names}
        self._log = directory / "log"
        (directory / "tmp").mkdir()
        self.temporary = directory / "tmp"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*around, sys.executable, "-m", "app", *words],
                cwd=ROOT,
                env=kept | {"PORT": str(free_port()), "TMPDIR": str(self.temporary), **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid
        if around:
            until(lambda: children(self.process.pid), "the process in its namespace")
            (self.pid,) = children(self.process.pid)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def reach(self, point: str) -> None:
        """Wait until the start has come so far."""
        until(lambda: self._is_at(point), f"{point}:\n{self.log}")

    def _is_at(self, point: str) -> bool:
        assert self.process.poll() is None, self.log
        if " process" in point or point == "serving on":
            return point in self.log
        if point == "handler":
            return bool(caught(self.pid) >> (signal.SIGTERM - 1) & 1)
        pids = workers(self.pid) if point.startswith("child") else {self.pid}
        library = point.removeprefix("child").strip()
        return any(f"/{library}/" in maps(pid) for pid in pids) if library else bool(pids)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def caught(pid: int) -> int:
    """The signals that a process has handlers for, one bit each."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:")]
    return int(line.split()[1], 16)


def maps(pid: int) -> str:
    """The files that a process has mapped."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


@contextmanager
def launched(directory: Path, around: list[str], *words: str, **environ: str) -> Iterator[Starting]:
    process = Starting(directory, around, *words, **environ)
    try:
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("point", POINTS)
def test_a_signal_during_the_start_as_first_process(tmp_path: Path, point: str, number: signal.Signals) -> None:
    """As the first process of a container the service takes a signal at every moment of its start, and ends in good
    order: exit code 0, no traceback."""
    with launched(tmp_path, namespace()) as service:
        service.reach(point)
        os.kill(service.pid, number)
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log
        assert "Traceback" not in service.log


@pytest.mark.parametrize("point", WORKERS_POINTS)
def test_a_signal_while_workers_start(store: RedisServer, tmp_path: Path, point: str) -> None:
    """The same with WORKERS=2: the parent waits for no worker that still starts, and removes the directory that they
    share."""
    with launched(tmp_path, namespace(), REDIS_URL=store.url, WORKERS="2") as service:
        service.reach(point)
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log
        assert "Traceback" not in service.log
        assert list(service.temporary.iterdir()) == []


@pytest.mark.parametrize("point", WORKERS_POINTS)
def test_ctrl_c_while_workers_start(store: RedisServer, tmp_path: Path, point: str) -> None:
    """Ctrl-C at a terminal goes to the parent and to every worker at once: none of them leaves a traceback."""
    with launched(tmp_path, [], REDIS_URL=store.url, WORKERS="2") as service:
        service.reach(point)
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log
        assert "Traceback" not in service.log
        assert list(service.temporary.iterdir()) == []


def test_a_stop_waits_for_no_worker_that_starts(store: RedisServer, tmp_path: Path) -> None:
    """A worker that says nothing for as long as it may does not keep the parent from stopping: it is frozen here, and
    goes on when the parent has told it to end."""
    with launched(tmp_path, [], REDIS_URL=store.url, WORKERS="2") as service:
        until(lambda: len(workers(service.pid)) == 2, "two workers")
        frozen, _ = sorted(workers(service.pid))
        os.kill(frozen, signal.SIGSTOP)
        os.kill(service.pid, signal.SIGTERM)
        until(lambda: f"child process [{frozen}]" in service.log.lower(), "told to end, or given up")
        assert f"Terminated child process [{frozen}]" in service.log
        os.kill(frozen, signal.SIGCONT)
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("point", IMPORTS)
def test_a_signal_while_a_command_starts(tmp_path: Path, point: str, number: signal.Signals) -> None:
    """A command that is interrupted before it has begun says at most that, and its exit code is that of Ctrl-C."""
    url = f"redis://127.0.0.1:{free_port()}"
    silent = socket.create_server(("127.0.0.1", int(url.rpartition(":")[2])))  # so the command does not end before
    with silent, launched(tmp_path, [], "show", "ann", REDIS_URL=url, STORE_TIMEOUT_SECONDS="600") as command:
        command.reach(point)
        os.kill(command.pid, number)
        assert command.process.wait(PATIENCE_SECONDS) == 130, command.log
        assert command.log in ("", "stopped; run it again to complete it\n")


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
            assert (answer.status_code, answer.json()) == (503, {"detail": "the service is shutting down"})
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


def workers(parent: int) -> set[int]:
    """The processes that serve, children of the one that was started."""
    listing = subprocess.run(
        ["ps", "-Aww", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    return {int(row[0]) for row in rows if row[1] == str(parent) and "spawn_main" in row[2]}


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
        one, _ = before = workers(served.pid)
        os.kill(one, signal.SIGKILL)
        until(lambda: len(workers(served.pid) - before) == 1, "a new process")
        until(lambda: see(3), "the new process answers")
        last = workers(served.pid)
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
    assert done.stderr.startswith("REDIS_URL: memory:// is for one process")
    assert len(done.stderr.splitlines()) == 1


def test_workers_need_a_directory() -> None:
    """Several processes share their metrics through files: where none can be written, one line says so, exit code 2."""

    def write_no_file() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env=os.environ | {"WORKERS": "2", "REDIS_URL": f"redis://127.0.0.1:{free_port()}"},
        preexec_fn=write_no_file,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("WORKERS: more than 1 needs a writable directory, at /tmp or in TMPDIR")
    assert len(done.stderr.splitlines()) == 1
