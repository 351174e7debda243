"""Child processes for tests: a server on a free port of 127.0.0.1 that is started, frozen, killed and started again.

A missing program fails the test that needs it; no test is skipped for it.
"""

import atexit
import ctypes
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import redis

from tests.support.waiting import PATIENCE_SECONDS, ServerError, until

__all__ = ["HOST", "ROOT", "Server", "free_port", "http_answers", "program", "temporary_directory"]

ROOT = Path(__file__).parent.parent.parent
HOST = "127.0.0.1"

_given: set[int] = set()
# Processes that run tests side by side draw from ports of their own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, given out once per test run.

    Taken from below the range from which systems draw the ports of outgoing connections, so that no client can
    occupy it before the server does.
    """
    draw = random.SystemRandom()
    for _ in range(1_000):
        port = draw.randrange(12_000 + _WORKER, 32_000, _WORKERS)
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            _given.add(port)
            return port
    raise ServerError("no free port found")


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
def temporary_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="oo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def http_answers(server: Server, path: str, status: int | None = None) -> bool:
    """Whether a GET of `path` is answered (with `status`, if one is given)."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
    try:
        connection.request("GET", path)
        return status in (None, connection.getresponse().status)
    finally:
        connection.close()
